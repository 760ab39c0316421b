// Convolutions by 3x3 filters, padded by one pixel, in a quarter of the multiplications (Winograd's F(4x4, 3x3);
// Lavin & Gray, 2015), for processors with AVX512-BF16. Images are NHWC in bfloat16, filters float32.
// winograd.h has what it comes to. Results are off by about 1.2% of their size, where a direct convolution is off
// by 0.3% (tests/kernels).

#include <algorithm>
#include <cstring>

#include <omp.h>

#include "kept.h"
#include "lanes.h"

#include "winograd.h"

namespace {

// A transform writes to 36 places at once, each on a page of its own. Strides between them are no multiple of 4 KiB,
// of which the first-level cache could hold only eight.
thread_local Kept kept[3];

// ---- forward, and the gradient of the input ------------------------------------------------------------------

constexpr int TALL = 12, WIDE = 32;       // tiles and outputs whose sums stay in registers
constexpr int BATCH = 2 * TALL;           // tiles at a time: their 36 spots fit in a second-level cache
constexpr size_t LARGE = size_t(16) << 20;  // bytes of a result that is written past the caches

// (TALL, pairs of inputs) x (pairs of inputs, 16 * V outputs)
template <int V>
inline void product(const pair* a, int stride, const pair* b, int pairs, float* to) {
    __m512 sum[TALL][V];
    for (int i = 0; i < TALL; i++)
        for (int v = 0; v < V; v++) sum[i][v] = _mm512_setzero_ps();
    for (int k = 0; k < pairs; k++, b += WIDE) {
        __m512bh wide[V];
        for (int v = 0; v < V; v++) wide[v] = (__m512bh)_mm512_loadu_si512(b + 16 * v);
        for (int i = 0; i < TALL; i++) {
            const __m512bh one = (__m512bh)_mm512_set1_epi32(int(a[i * stride + k]));
            for (int v = 0; v < V; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], one, wide[v]);
        }
    }
    for (int i = 0; i < TALL; i++)
        for (int v = 0; v < V; v++) _mm512_store_ps(to + i * WIDE + 16 * v, sum[i][v]);
}

inline void filter(const float* w, int c_in, int k, bool turned, __m512* spots) {
    const __mmask16 mask = first(c_in - k);
    both_ways<3, WINDOW>(
        spread,
        [&](int i, int j) {
            const int tap = 3 * i + j;
            return _mm512_maskz_loadu_ps(mask, w + size_t(turned ? 8 - tap : tap) * c_in + k);
        },
        spots);
}

// Filters (c_out, 3, 3, c_in) to panels [32 outputs][36 spots][pairs of inputs][32 outputs]. For the gradient of
// the input, outputs and inputs change places and the taps are turned about.
void pack(const float* w, int c_in, int c_out, bool gradient, pair* to, int panels, int pairs) {
    const size_t panel = size_t(pairs) * WIDE;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int p = 0; p < panels; p++) std::memset(to + p * SPOTS * panel, 0, SPOTS * panel * sizeof(pair));
#pragma omp for schedule(static)
        for (int o = 0; o < c_out; o += 1 + gradient)
            for (int k = 0; k < c_in; k += 16) {
                __m512 spots[2][SPOTS] = {};
                const float* from = w + size_t(o) * 9 * c_in;
                filter(from, c_in, k, gradient, spots[0]);
                if (gradient) {
                    if (o + 1 < c_out) filter(from + 9 * c_in, c_in, k, true, spots[1]);
                    pair* at = to + (k / WIDE) * SPOTS * panel + size_t(o / 2) * WIDE + k % WIDE;
                    for (int p = 0; p < SPOTS; p++, at += panel)
                        _mm512_storeu_si512(at, paired(spots[0][p], spots[1][p]));
                } else {
                    pair* at = to + (o / WIDE) * SPOTS * panel + size_t(k / 2) * WIDE + o % WIDE;
                    for (int p = 0; p < SPOTS; p++, at += panel) {
                        alignas(32) pair two[8];
                        _mm256_store_si256((__m256i*)two, (__m256i)_mm512_cvtneps_pbh(spots[0][p]));
                        for (int i = 0; i < std::min(8, pairs - k / 2); i++) at[i * WIDE] = two[i];
                    }
                }
            }
    }
}

// The result of a tile, of 32 channels of which `mask` there are.
struct Result {
    __m512 of[2][SIDE * SIDE] = {};

    void put(const Tiles& s, int tile, bf16* y, int channels, __mmask32 mask, bool past) const {
        const int r = s.top(tile), c = s.left(tile);
        for (int i = 0; i < std::min(SIDE, s.height - r); i++) {
            bf16* to = y + s.pixel(s.image(tile), r + i, c) * channels;
            for (int j = 0; j < std::min(SIDE, s.width - c); j++, to += channels) {
                const int k = i * SIDE + j;
                const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(of[1][k], of[0][k]);
                if (past)
                    _mm512_stream_si512((__m512i*)to, both);
                else
                    _mm512_mask_storeu_epi16(to, mask, both);
            }
        }
    }

    // The largest of each 2x2 pixels, and which it was: the first of several; what is no number stays none.
    void put_largest(const Tiles& s, int tile, bf16* y, uint8_t* which, int channels, __mmask32 mask) const {
        const int r = s.top(tile) / 2, c = s.left(tile) / 2;
        for (int i = 0; i < std::min(SIDE / 2, s.height / 2 - r); i++)
            for (int j = 0; j < std::min(SIDE / 2, s.width / 2 - c); j++) {
                __m512 best[2];
                __m128i from[2];
                for (int h = 0; h < 2; h++) {
                    const __m512* corners = of[h] + 2 * i * SIDE + 2 * j;
                    best[h] = corners[0];
                    from[h] = _mm_setzero_si128();
                    for (int k = 1; k < 4; k++)
                        take_larger(corners[k / 2 * SIDE + k % 2], k, best[h], from[h]);
                }
                const size_t at = s.pooled(s.image(tile), r + i, c + j) * channels;
                _mm512_mask_storeu_epi16(y + at, mask, (__m512i)_mm512_cvtne2ps_pbh(best[1], best[0]));
                _mm256_mask_storeu_epi8(which + at, mask, _mm256_set_m128i(from[1], from[0]));
            }
    }
};

template <bool FROM_POOLED>
void convolve(const bf16* x, const uint8_t* x_which, const float* filters, bf16* y, uint8_t* y_which, int images,
              int height, int width, int c_in, int c_out, bool gradient) {
    const Tiles tiles(images, height, width, y_which ? 2 : 1);
    const int in = gradient ? c_out : c_in, out = gradient ? c_in : c_out;
    const int pairs = (in + 1) / 2, panels = (out + WIDE - 1) / WIDE, row = (in + 15) / 16 * 16;
    const size_t panel = size_t(pairs) * WIDE, v_spot = size_t(BATCH) * row + 32, m_spot = BATCH * WIDE + 16;
    const size_t bytes = sizeof(bf16) * out * tiles.pixel(images, 0, 0);
    const bool past = bytes > LARGE && out % WIDE == 0 && size_t(y) % 64 == 0;
    const int jobs = (tiles.count() + BATCH - 1) / BATCH;
    pair* u = kept[0].of<pair>(panels * SPOTS * panel);
    pack(filters, c_in, c_out, gradient, u, panels, pairs);
#pragma omp parallel
    {
        bf16* v = kept[1].of<bf16>(SPOTS * v_spot);
        float* m = kept[2].of<float>(SPOTS * m_spot);
#pragma omp for schedule(static)
        for (int job = 0; job < jobs; job++) {
            const int begin = job * BATCH, count = std::min(BATCH, tiles.count() - begin);
            Walk<bf16, WINDOW, FROM_POOLED> window(tiles, x, x_which, in, begin);
            for (int t = 0; t < BATCH; t++, window.go_on())
                for (int k = 0; k < in; k += 16) {
                    const __mmask16 mask = first(in - k);
                    bf16* const to = v + size_t(t) * row + k;
                    window.fetch(k);
                    both_ways<WINDOW, WINDOW, __m512>(
                        look, [&](int i, int j) { return window(i, j, k, mask); },
                        [&](int i, int j, __m512 spot) { store(to + (i * WINDOW + j) * v_spot, spot); });
                }
            for (int b = 0; b < panels; b++) {
                const int left = out - b * WIDE, vectors = left > 16 ? 2 : 1;
                for (int p = 0; p < SPOTS; p++)
                    for (int t = 0; t < count; t += TALL) {
                        const pair* a = (const pair*)(v + p * v_spot + size_t(t) * row);
                        const pair* from = u + (size_t(b) * SPOTS + p) * panel;
                        float* to = m + p * m_spot + t * WIDE;
                        vectors == 2 ? product<2>(a, row / 2, from, pairs, to)
                                     : product<1>(a, row / 2, from, pairs, to);
                    }
                const __mmask32 mask = left < WIDE ? (1u << left) - 1 : ~0u;
                for (int t = 0; t < count; t++) {
                    Result result;
                    for (int h = 0; h < vectors; h++) {
                        const float* from = m + t * WIDE + 16 * h;
                        both_ways<WINDOW, SIDE>(
                            settle,
                            [&](int i, int j) { return _mm512_load_ps(from + (i * WINDOW + j) * m_spot); },
                            result.of[h]);
                    }
                    if (y_which)
                        result.put_largest(tiles, begin + t, y + b * WIDE, y_which + b * WIDE, out, mask);
                    else
                        result.put(tiles, begin + t, y + b * WIDE, out, mask, past);
                }
            }
        }
        _mm_sfence();
    }
}

}  // namespace

// x (images, height, width, in), filters (c_out, 3, 3, c_in), y (images, height, width, out): in and out are c_in
// and c_out, or for the gradient of the input c_out and c_in. Where there is y_which, y is the largest of each
// 2x2 pixels, and y_which (as y) says which; where there is x_which, x is the gradient of such.
extern "C" void winograd_convolution(const bf16* x, const uint8_t* x_which, const float* filters, bf16* y,
                                     uint8_t* y_which, int images, int height, int width, int c_in, int c_out,
                                     int gradient) {
    const auto run = x_which ? convolve<true> : convolve<false>;
    run(x, x_which, filters, y, y_which, images, height, width, c_in, c_out, gradient);
}

// ---- the gradient of the filters ---------------------------------------------------------------------------
//
// By the chain rule the same 36 products, of windows of x and tiles of g, summed over tiles; two neighbouring
// tiles are a pair. Windows and tiles of many images are transformed first, and then each product adds to its own
// part of the sums: they are the same however many threads there are.

namespace {

constexpr int IN = 8, OUT = WIDE;
constexpr size_t CHUNK = size_t(8) << 20;  // bytes of transformed tiles at a time; threads wait for each other twice

// (IN, OUT) += (pairs, IN) transposed x (pairs, OUT)
inline void add_product(const pair* x, const pair* g, int pairs, float* to) {
    __m512 sum[IN][2];
    for (int a = 0; a < IN; a++)
        for (int v = 0; v < 2; v++) sum[a][v] = _mm512_load_ps(to + a * OUT + 16 * v);
    for (int k = 0; k < pairs; k++, x += 16, g += OUT) {
        const __m512bh wide[2] = {(__m512bh)_mm512_load_si512(g), (__m512bh)_mm512_load_si512(g + 16)};
        for (int a = 0; a < IN; a++) {
            const __m512bh one = (__m512bh)_mm512_set1_epi32(int(x[a]));
            for (int v = 0; v < 2; v++) sum[a][v] = _mm512_dpbf16_ps(sum[a][v], one, wide[v]);
        }
    }
    for (int a = 0; a < IN; a++)
        for (int v = 0; v < 2; v++) _mm512_store_ps(to + a * OUT + 16 * v, sum[a][v]);
}

// All channels of two neighbouring tiles, brought to 36 rows of pairs that lie `spot` apart, in blocks of WIDTH channels
// that lie `block` apart. What there is not is zero, up to `end`.
template <int WIDTH, int N, bool POOLED>
INLINE void transform(void (*one)(const __m512*, __m512*, int), const Walk<bf16, N, POOLED>* two, int channels, int end,
                      pair* to, size_t block, size_t spot) {
    __m256i evens[SPOTS];
    for (int c = 0; c < end; c += 16) {
        const __mmask16 mask = first(std::max(0, channels - c));
        pair* const at = to + c / WIDTH * block + c % WIDTH;
        two[0].fetch(c);
        two[1].fetch(c);
        both_ways<N, WINDOW, __m512>(
            one, [&](int i, int j) { return two[0](i, j, c, mask); },
            [&](int i, int j, __m512 even) { evens[i * WINDOW + j] = (__m256i)_mm512_cvtneps_pbh(even); });
        both_ways<N, WINDOW, __m512>(
            one, [&](int i, int j) { return two[1](i, j, c, mask); },
            [&](int i, int j, __m512 odd) {
                const int p = i * WINDOW + j;
                _mm512_store_si512(at + p * spot, paired(evens[p], (__m256i)_mm512_cvtneps_pbh(odd)));
            });
    }
}

template <bool POOLED>
void gradient(const bf16* x, const bf16* g, const uint8_t* g_which, float* dw, int images, int height, int width,
              int c_in, int c_out) {
    const Tiles tiles(images, height, width, POOLED ? 2 : 1);
    const int in = (c_in + 15) / 16 * 16, out = (c_out + OUT - 1) / OUT * OUT;
    // V [spot][sixteen of in][pair][16], Z [spot][block of out][pair][OUT], dU [spot][block of out][in][OUT]
    const int all_pairs = (tiles.count() + 1) / 2;
    const int most = std::max<int>(16, CHUNK / (sizeof(pair) * SPOTS * (in + out)));
    const size_t v_spot = size_t(most) * in + 16, z_spot = size_t(most) * out + 16, u_spot = size_t(in) * out + 16;
    pair *v = kept[0].of<pair>(SPOTS * v_spot), *z = kept[1].of<pair>(SPOTS * z_spot);
    float* du = kept[2].of<float>(SPOTS * u_spot);
#pragma omp parallel
    {
        const int threads = omp_get_num_threads(), me = omp_get_thread_num();
#pragma omp for schedule(static)
        for (int p = 0; p < SPOTS; p++) std::memset(du + p * u_spot, 0, sizeof(float) * u_spot);
        for (int begin = 0; begin < all_pairs; begin += most) {
            const int pairs = std::min(most, all_pairs - begin);
            const int tile = 2 * (begin + part(pairs, me, threads));
            Walk<bf16, WINDOW, false> windows[] = {{tiles, x, nullptr, c_in, tile, 2},
                                                   {tiles, x, nullptr, c_in, tile + 1, 2}};
            Walk<bf16, SIDE, POOLED> ends[] = {{tiles, g, g_which, c_out, tile, 2},
                                                 {tiles, g, g_which, c_out, tile + 1, 2}};
            for (int k = part(pairs, me, threads); k < part(pairs, me + 1, threads); k++) {
                transform<16>(look, windows, c_in, in, v + size_t(k) * 16, size_t(most) * 16, v_spot);
                transform<OUT>(unsettle, ends, c_out, out, z + size_t(k) * OUT, size_t(most) * OUT, z_spot);
                for (int h = 0; h < 2; h++) windows[h].go_on(), ends[h].go_on();
            }
#pragma omp barrier
#pragma omp for schedule(static) collapse(2)
            for (int p = 0; p < SPOTS; p++)
                for (int o = 0; o < out; o += OUT)
                    for (int i = 0; i < c_in; i += IN)
                        add_product(v + p * v_spot + size_t(i / 16) * 16 * most + i % 16,
                                    z + p * z_spot + size_t(o) * most, pairs,
                                    du + p * u_spot + size_t(o) * in + size_t(i) * OUT);
        }
#pragma omp for schedule(static)
        for (int i = 0; i < c_in; i++)
            for (int o = 0; o < c_out; o += 16) {
                const float* from = du + size_t(o / OUT) * in * OUT + size_t(i) * OUT + o % OUT;
                __m512 taps[9];
                both_ways<WINDOW, 3>(
                    unspread, [&](int r, int c) { return _mm512_load_ps(from + (r * WINDOW + c) * u_spot); },
                    taps);
                for (int t = 0; t < 9; t++) {
                    alignas(64) float one[16];
                    _mm512_store_ps(one, taps[t]);
                    for (int h = 0; h < std::min(16, c_out - o); h++) dw[(size_t(o + h) * 9 + t) * c_in + i] = one[h];
                }
            }
    }
}

}  // namespace

// x (images, height, width, c_in), g (images, height, width, c_out), dw (c_out, 3, 3, c_in). Where there is g_which,
// g and g_which are of the largest of each 2x2 pixels.
extern "C" void winograd_weight_gradient(const bf16* x, const bf16* g, const uint8_t* g_which, float* dw, int images,
                                         int height, int width, int c_in, int c_out) {
    (g_which ? gradient<true> : gradient<false>)(x, g, g_which, dw, images, height, width, c_in, c_out);
}
