// Convolutions by 3x3 filters, padded by one pixel, in a quarter of the multiplications (winograd.h), in float32 and on
// any processor. Images are NHWC.

#include <algorithm>
#include <cstring>
#include <vector>

#include <omp.h>

#include "kept.h"
#include "vectors.h"

#include "winograd.h"

namespace {

// Sums that stay in registers are of TALL by WIDE; of what is left over, of LOW by WIDE.
constexpr int TALL = REGISTERS == 32 ? 12 : 6, LOW = TALL / 3, WIDE = 2 * LANES;

constexpr int up_to(int of, int n) { return (n + of - 1) / of * of; }

// Rows of so many values, further apart by what keeps them out of each other's way in the caches.
constexpr int row_of(int n) { return up_to(16, n) + 16; }

// A transform writes to 36 places at once, each on a page of its own. Strides between them are no multiple of 4 KiB,
// of which the first-level cache could hold only eight.
thread_local Kept kept[3];

// The product of (H, count) and (count, V vectors), or its sum with what there is. From one of a's values to the next
// it is `down` and `along`, from one row of b to the next `next`.
template <int H, int V, bool ADD>
INLINE void product(const float* a, size_t down, size_t along, const float* b, size_t next, int count, float* to) {
    lanes sum[H][V];
    for (int i = 0; i < H; i++)
        for (int v = 0; v < V; v++) sum[i][v] = lanes{};
    for (int k = 0; k < count; k++, a += along, b += next) {
        lanes wide[V];
        for (int v = 0; v < V; v++) wide[v] = load(b + v * LANES);
        for (int i = 0; i < H; i++)
            for (int v = 0; v < V; v++) sum[i][v] += a[i * down] * wide[v];
    }
    for (int i = 0; i < H; i++)
        for (int v = 0; v < V; v++) {
            float* const at = to + i * WIDE + v * LANES;
            store(at, ADD ? load(at) + sum[i][v] : sum[i][v]);  // last: sums of sums round less than one long sum
        }
}

// The same for any height: `rows` is rounded up to a multiple of LOW.
template <int V, bool ADD>
INLINE void products(int rows, const float* a, size_t down, size_t along, const float* b, size_t next, int count,
                     float* to) {
    int i = 0;
    for (; i + TALL <= up_to(LOW, rows); i += TALL)
        product<TALL, V, ADD>(a + i * down, down, along, b, next, count, to + size_t(i) * WIDE);
    for (; i < rows; i += LOW)
        product<LOW, V, ADD>(a + i * down, down, along, b, next, count, to + size_t(i) * WIDE);
}

// All channels of a patch, brought to 36 rows that lie `spot` apart.
template <int N, bool POOLED>
INLINE void transform(void (*one)(const lanes*, lanes*, int), const Walk<float, N, POOLED>& patch, int channels,
                      float* to, size_t spot) {
    const auto some = [&](int k, auto count) {
        both_ways<N, WINDOW, lanes>(
            one, [&](int i, int j) { return patch(i, j, k, count); },
            [&](int i, int j, lanes v) { store(to + (i * WINDOW + j) * spot + k, v); });
    };
    if (channels < LANES) return some(0, channels);
    for (int k = 0; k < channels; k += LANES) {
        patch.fetch(k);
        some(std::min(k, channels - LANES), All{});  // the last may overlap
    }
}

// ---- forward, and the gradient of the input ------------------------------------------------------------------

constexpr size_t NEAR_BY = size_t(256) << 10;  // bytes of transformed windows: they stay in a second-level cache
constexpr int MOST_TALL = 8;                   // of so many tiles at the most, as do their sums

// Filters (c_out, 3, 3, c_in) to panels [WIDE outputs][36 spots][inputs][WIDE outputs]. For the gradient of the
// input, outputs and inputs change places and the taps are turned about.
void pack(const float* w, int c_in, int c_out, bool gradient, float* to) {
    const size_t panel = size_t(gradient ? c_out : c_in) * WIDE;
#pragma omp parallel for schedule(static)
    for (int o = 0; o < c_out; o++)
        for (int k = 0; k < c_in; k += LANES) {
            lanes spots[SPOTS];
            const int count = std::min(LANES, c_in - k);
            both_ways<3, WINDOW>(
                spread,
                [&](int i, int j) {
                    const int tap = 3 * i + j;
                    return load(w + (size_t(o) * 9 + (gradient ? 8 - tap : tap)) * c_in + k, count);
                },
                spots);
            if (gradient) {
                float* at = to + (k / WIDE) * SPOTS * panel + size_t(o) * WIDE + k % WIDE;
                for (int p = 0; p < SPOTS; p++, at += panel) store(at, spots[p]);
            } else {
                float* at = to + (o / WIDE) * SPOTS * panel + size_t(k) * WIDE + o % WIDE;
                for (int p = 0; p < SPOTS; p++, at += panel)
                    for (int i = 0; i < count; i++) at[size_t(i) * WIDE] = spots[p][i];
            }
        }
}

// The results of a tile, of a vector of channels of which `count` there are.
void put(const Tiles& s, int tile, const lanes* of, float* y, int channels, int count) {
    const int r = s.top(tile), c = s.left(tile);
    for (int i = 0; i < std::min(SIDE, s.height - r); i++) {
        float* to = y + s.pixel(s.image(tile), r + i, c) * channels;
        for (int j = 0; j < std::min(SIDE, s.width - c); j++, to += channels) store(to, of[i * SIDE + j], count);
    }
}

// The largest of each 2x2 pixels, and which it was: the first of several; what is no number stays none.
void put_largest(const Tiles& s, int tile, const lanes* of, float* y, uint8_t* which, int channels, int count) {
    const int r = s.top(tile) / 2, c = s.left(tile) / 2;
    for (int i = 0; i < std::min(SIDE / 2, s.height / 2 - r); i++)
        for (int j = 0; j < std::min(SIDE / 2, s.width / 2 - c); j++) {
            const lanes* corners = of + 2 * i * SIDE + 2 * j;
            lanes best = corners[0];
            whole from = {};
            for (int k = 1; k < 4; k++) take_larger(corners[k / 2 * SIDE + k % 2], k, best, from);
            const size_t at = s.pooled(s.image(tile), r + i, c + j) * channels;
            store(y + at, best, count);
            store_small(which + at, from, count);
        }
}

template <bool FROM_POOLED>
void convolve(const float* x, const uint8_t* x_which, const float* filters, float* y, uint8_t* y_which, int images,
              int height, int width, int c_in, int c_out, bool gradient) {
    const Tiles tiles(images, height, width, y_which ? 2 : 1);
    const int in = gradient ? c_out : c_in, out = gradient ? c_in : c_out;
    const int panels = (out + WIDE - 1) / WIDE, row = row_of(in);
    const int fit = NEAR_BY / (sizeof(float) * SPOTS * TALL * row);
    const int batch = TALL * std::clamp(fit, 1, MOST_TALL), jobs = (tiles.count() + batch - 1) / batch;
    const size_t panel = size_t(in) * WIDE, v_spot = size_t(batch) * row + 32, m_spot = size_t(batch) * WIDE + 16;
    float* u = kept[0].of<float>(panels * SPOTS * panel);
    pack(filters, c_in, c_out, gradient, u);
#pragma omp parallel
    {
        float *v = kept[1].of<float>(SPOTS * v_spot), *m = kept[2].of<float>(SPOTS * m_spot);
#pragma omp for schedule(static)
        for (int job = 0; job < jobs; job++) {
            const int begin = job * batch, count = std::min(batch, tiles.count() - begin);
            Walk<float, WINDOW, FROM_POOLED> window(tiles, x, x_which, in, begin);
            for (int t = 0; t < count; t++, window.go_on())
                transform(look, window, in, v + size_t(t) * row, v_spot);
            for (int b = 0; b < panels; b++) {
                const int left = out - b * WIDE, vectors = left > LANES ? 2 : 1;
                for (int p = 0; p < SPOTS; p++) {
                    const float *a = v + p * v_spot, *from = u + (size_t(b) * SPOTS + p) * panel;
                    vectors == 2 ? products<2, false>(count, a, row, 1, from, WIDE, in, m + p * m_spot)
                                 : products<1, false>(count, a, row, 1, from, WIDE, in, m + p * m_spot);
                }
                for (int t = 0; t < count; t++)
                    for (int h = 0; h < vectors; h++) {
                        const float* from = m + size_t(t) * WIDE + h * LANES;
                        const int channel = b * WIDE + h * LANES, some = std::min(LANES, out - channel);
                        lanes result[SIDE * SIDE];
                        both_ways<WINDOW, SIDE>(
                            settle, [&](int i, int j) { return load(from + (i * WINDOW + j) * m_spot); }, result);
                        if (y_which)
                            put_largest(tiles, begin + t, result, y + channel, y_which + channel, out, some);
                        else
                            put(tiles, begin + t, result, y + channel, out, some);
                    }
            }
        }
    }
}

}  // namespace

// x (images, height, width, in), filters (c_out, 3, 3, c_in), y (images, height, width, out): in and out are c_in
// and c_out, or for the gradient of the input c_out and c_in. Where there is y_which, y is the largest of each
// 2x2 pixels, and y_which (as y) says which; where there is x_which, x is the gradient of such.
extern "C" void winograd_convolution(const float* x, const uint8_t* x_which, const float* filters, float* y,
                                     uint8_t* y_which, int images, int height, int width, int c_in, int c_out,
                                     int gradient) {
    const auto run = x_which ? convolve<true> : convolve<false>;
    run(x, x_which, filters, y, y_which, images, height, width, c_in, c_out, gradient);
}

// ---- the gradient of the filters ---------------------------------------------------------------------------
//
// By the chain rule the same 36 products, of windows of x and tiles of g, summed over tiles. Some tiles are
// transformed first, and then each product adds to its own part of the sums. Where the sums are small, each thread
// has its own and takes its own tiles; large ones are worked by all threads together, which wait for each other
// twice each time. The same number of threads gives the same bits.

namespace {

constexpr size_t CHUNK[2] = {size_t(3) << 20, size_t(1) << 20};  // bytes that a thread transforms at a time, apart
constexpr size_t SMALL = size_t(4) << 20;  // bytes of sums that each thread has its own of
constexpr int LONG = 128;                  // tiles whose rows stay in a first-level cache

template <bool POOLED>
void gradient(const float* x, const float* g, const uint8_t* g_which, float* dw, int images, int height, int width,
              int c_in, int c_out) {
    const Tiles tiles(images, height, width, POOLED ? 2 : 1);
    // V [spot][tile][in], Z [spot][tile][out], dU [spot][panel of out][in][WIDE]
    const int v_row = row_of(c_in), z_row = row_of(c_out), in = up_to(LOW, c_in), panels = (c_out + WIDE - 1) / WIDE;
    const size_t panel = size_t(in) * WIDE, u_spot = panel * panels + 16;
    const bool apart = sizeof(float) * SPOTS * u_spot <= SMALL;
    const int fit = std::max<int>(32, CHUNK[apart] / (sizeof(float) * SPOTS * (v_row + z_row)));
    const int most = fit * (apart ? 1 : omp_get_max_threads());
    const size_t v_spot = size_t(most) * v_row + 16, z_spot = size_t(most) * z_row + 16;
    std::vector<const float*> sums(omp_get_max_threads());
    Kept* const shared = kept;
#pragma omp parallel
    {
        const int threads = omp_get_num_threads(), me = omp_get_thread_num();
        const int team = apart ? 1 : threads, member = apart ? 0 : me;
        const int first = apart ? part(tiles.count(), me, threads) : 0;
        const int last = apart ? part(tiles.count(), me + 1, threads) : tiles.count();
        const int from_unit = part(SPOTS * panels, member, team), to_unit = part(SPOTS * panels, member + 1, team);
        float *v, *z, *du;
#pragma omp critical
        {
            Kept* const own = apart ? kept : shared;
            v = own[0].of<float>(SPOTS * v_spot), z = own[1].of<float>(SPOTS * z_spot);
            du = own[2].of<float>(SPOTS * u_spot);
        }
        if (member == 0) sums[me] = du;
        for (int unit = from_unit; unit < to_unit; unit++)
            std::memset(du + unit / panels * u_spot + unit % panels * panel, 0, sizeof(float) * panel);
        for (int begin = first; begin < last; begin += most) {
            const int count = std::min(most, last - begin);
            const int from_tile = part(count, member, team), to_tile = part(count, member + 1, team);
            Walk<float, WINDOW, false> window(tiles, x, nullptr, c_in, begin + from_tile);
            Walk<float, SIDE, POOLED> end(tiles, g, g_which, c_out, begin + from_tile);
            for (int t = from_tile; t < to_tile; t++, window.go_on(), end.go_on()) {
                transform(look, window, c_in, v + size_t(t) * v_row, v_spot);
                transform(unsettle, end, c_out, z + size_t(t) * z_row, z_spot);
            }
            if (!apart) {
#pragma omp barrier
            }
            for (int unit = from_unit; unit < to_unit; unit++)
                for (int t = 0; t < count; t += LONG) {
                    const int p = unit / panels, o = unit % panels, length = std::min(LONG, count - t);
                    const float* a = v + p * v_spot + size_t(t) * v_row;
                    const float* b = z + p * z_spot + size_t(t) * z_row + o * WIDE;
                    float* to = du + p * u_spot + o * panel;
                    c_out - o * WIDE > LANES ? products<2, true>(in, a, 1, v_row, b, z_row, length, to)
                                             : products<1, true>(in, a, 1, v_row, b, z_row, length, to);
                }
            if (!apart) {
#pragma omp barrier
            }
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int i = 0; i < c_in; i++)
            for (int o = 0; o < c_out; o += LANES) {
                const size_t at = o / WIDE * panel + size_t(i) * WIDE + o % WIDE;
                lanes taps[9];
                both_ways<WINDOW, 3>(
                    unspread,
                    [&](int r, int c) {
                        lanes total = {};
                        for (const float* one : sums)
                            if (one) total += load(one + at + (r * WINDOW + c) * u_spot);
                        return total;
                    },
                    taps);
                for (int t = 0; t < 9; t++)
                    for (int h = 0; h < std::min(LANES, c_out - o); h++)
                        dw[(size_t(o + h) * 9 + t) * c_in + i] = taps[t][h];
            }
    }
}

}  // namespace

// x (images, height, width, c_in), g (images, height, width, c_out), dw (c_out, 3, 3, c_in). Where there is g_which,
// g and g_which are of the largest of each 2x2 pixels.
extern "C" void winograd_weight_gradient(const float* x, const float* g, const uint8_t* g_which, float* dw,
                                         int images, int height, int width, int c_in, int c_out) {
    (g_which ? gradient<true> : gradient<false>)(x, g, g_which, dw, images, height, width, c_in, c_out);
}
