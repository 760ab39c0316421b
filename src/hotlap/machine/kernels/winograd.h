// Winograd's F(4x4, 3x3) for convolutions by 3x3 filters padded by one pixel (Lavin & Gray, 2015), in vectors of any
// kind: what is the same whatever the numbers are kept in.
//
// An output tile of 4x4 pixels depends on a window of 6x6. Windows and filters are brought to 36 values each,
// between which a convolution is a product by element, so that over channels it is 36 products of matrices,
// (tiles, inputs) by (inputs, outputs); then 36 values are brought back to 4x4. In one dimension the
// transforms are evaluations of polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity, which round half
// as much as 0, +-1, +-2 and infinity.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

constexpr int SIDE = 4, WINDOW = 6, SPOTS = WINDOW * WINDOW;
constexpr float NEAR = 0.70710678f, FAR = 1.41421356f;  // the points but for 0 and infinity; both signs

// ---- the transforms, in one dimension ----------------------------------------------------------------------

// A window: six pixels to six spots.
template <class V>
inline void look(const V* d, V* to, int step) {
    const V near_even = d[4] - 2.0f * d[2], near_odd = NEAR * (d[3] - 2.0f * d[1]);
    const V far_even = d[4] - 0.5f * d[2], far_odd = FAR * (d[3] - 0.5f * d[1]);
    to[0] = d[0] + d[4] - 2.5f * d[2];
    to[step] = near_even + near_odd;
    to[2 * step] = near_even - near_odd;
    to[3 * step] = far_even + far_odd;
    to[4 * step] = far_even - far_odd;
    to[5 * step] = d[1] + d[5] - 2.5f * d[3];
}

// A tile: six spots to four pixels.
template <class V>
inline void settle(const V* m, V* to, int step) {
    const V near_even = m[1] + m[2], near_odd = m[1] - m[2], far_even = m[3] + m[4], far_odd = m[3] - m[4];
    to[0] = m[0] + (near_even + far_even);
    to[step] = FAR * far_odd + NEAR * near_odd;
    to[2 * step] = 2.0f * far_even + 0.5f * near_even;
    to[3 * step] = m[5] + 2 * FAR * far_odd + NEAR / 2 * near_odd;
}

// The gradient of a tile: four pixels to six spots, the transpose of `settle`.
template <class V>
inline void unsettle(const V* g, V* to, int step) {
    const V near_even = g[0] + 0.5f * g[2], near_odd = NEAR * (g[1] + 0.5f * g[3]);
    const V far_even = g[0] + 2.0f * g[2], far_odd = FAR * (g[1] + 2.0f * g[3]);
    to[0] = g[0];
    to[step] = near_even + near_odd;
    to[2 * step] = near_even - near_odd;
    to[3 * step] = far_even + far_odd;
    to[4 * step] = far_even - far_odd;
    to[5 * step] = g[3];
}

// A filter: three taps to six spots.
constexpr float OF_NEAR = -2.0f / 3, OF_FAR = 1.0f / 6;

template <class V>
inline void spread(const V* w, V* to, int step) {
    const V near_even = w[0] + 0.5f * w[2], near_odd = NEAR * w[1];
    const V far_even = w[0] + 2.0f * w[2], far_odd = FAR * w[1];
    to[0] = w[0];
    to[step] = OF_NEAR * (near_even + near_odd);
    to[2 * step] = OF_NEAR * (near_even - near_odd);
    to[3 * step] = OF_FAR * (far_even + far_odd);
    to[4 * step] = OF_FAR * (far_even - far_odd);
    to[5 * step] = w[2];
}

// The gradient of a filter: six spots to three taps, the transpose of `spread`.
template <class V>
inline void unspread(const V* u, V* to, int step) {
    const V near_even = OF_NEAR * (u[1] + u[2]), near_odd = OF_NEAR * (u[1] - u[2]);
    const V far_even = OF_FAR * (u[3] + u[4]), far_odd = OF_FAR * (u[3] - u[4]);
    to[0] = u[0] + (near_even + far_even);
    to[step] = FAR * far_odd + NEAR * near_odd;
    to[2 * step] = u[5] + 2.0f * far_even + 0.5f * near_even;
}

#define INLINE inline __attribute__((always_inline))

// A transform of FROM x FROM values, given by get(row, column), to TO x TO, of which each goes to put(row, column,
// value). Unrolled to its end, so that what lies between stays in registers, or as much of it as they hold.
template <int FROM, int TO, class V, class Get, class Put>
INLINE void both_ways(void (*one)(const V*, V*, int), Get get, Put put) {
    V half[TO * FROM];
#pragma GCC unroll 6
    for (int j = 0; j < FROM; j++) {
        V line[FROM];
#pragma GCC unroll 6
        for (int i = 0; i < FROM; i++) line[i] = get(i, j);
        one(line, half + j, FROM);
    }
#pragma GCC unroll 6
    for (int i = 0; i < TO; i++) {
        V line[TO];
        one(half + i * FROM, line, 1);
#pragma GCC unroll 6
        for (int j = 0; j < TO; j++) put(i, j, line[j]);
    }
}

template <int FROM, int TO, class V, class Get>
INLINE void both_ways(void (*one)(const V*, V*, int), Get get, V* out) {
    both_ways<FROM, TO, V>(one, get, [&](int i, int j, V v) { out[i * TO + j] = v; });
}

// ---- tiles -------------------------------------------------------------------------------------------------

constexpr int MOST_CHANNELS = 1 << 14;
const float NOTHING[MOST_CHANNELS] = {};  // what lies outside of an image: zeros, also as smaller numbers

struct Tiles {
    int images, height, width, rows, columns;
    // `side`: 2 where only what lies in whole squares of 2x2 pixels is of use, else 1.
    Tiles(int images, int height, int width, int side)
        : images(images), height(height), width(width), rows((height / side * side + SIDE - 1) / SIDE),
          columns((width / side * side + SIDE - 1) / SIDE) {}
    int count() const { return images * rows * columns; }
    int image(int tile) const { return tile / (rows * columns); }
    int top(int tile) const { return tile / columns % rows * SIDE; }
    int left(int tile) const { return tile % columns * SIDE; }
    size_t pixel(int n, int r, int c) const { return (size_t(n) * height + r) * width + c; }
    size_t pooled(int n, int r, int c) const { return (size_t(n) * (height / 2) + r) * (width / 2) + c; }
};

// N x N pixels about a tile; what lies outside of the image, and a tile that there is not, is zero. POOLED: x are
// the gradients of the largest of each 2x2 pixels, and `which` says, from 0 to 3, of which pixel they are. Who
// includes this has a `load` of some channels, and a `load_only` of those that are of one pixel of the four.
template <class T, int N, bool POOLED>
class Patch {
  public:
    Patch() = default;
    Patch(const Tiles& s, const T* x, const uint8_t* which, int channels, int tile) {
        const int n = s.image(tile), r = s.top(tile) - ABOVE, c = s.left(tile) - ABOVE, side = POOLED ? 2 : 1;
        const int end_r = s.height / side * side, end_c = s.width / side * side;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const int row = r + i, column = c + j;
                const bool inside = tile < s.count() && row >= 0 && row < end_r && column >= 0 && column < end_c;
                const size_t pixel = POOLED ? s.pooled(n, row / 2, column / 2) : s.pixel(n, row, column);
                at[i * N + j] = inside ? x + pixel * channels : (const T*)NOTHING;
                if (POOLED) of[i * N + j] = inside ? which + pixel * channels : (const uint8_t*)NOTHING;
            }
    }
    // Channels from k on of pixel (i, j), a vector of them, or those there are.
    template <class Some>
    auto operator()(int i, int j, int k, Some some) const {
        const int pixel = i * N + j;
        if constexpr (POOLED) {
            const int corner = (i + ABOVE) % 2 * 2 + (j + ABOVE) % 2;  // tiles begin at even pixels
            return load_only(at[pixel] + k, of[pixel] + k, corner, some);
        } else {
            return load(at[pixel] + k, some);
        }
    }

    // Asks for the cache lines in which channels from k on lie.
    void fetch(int k) const {
        for (int pixel = 0; pixel < N * N; pixel++) {
            __builtin_prefetch(at[pixel] + k);
            if (POOLED) __builtin_prefetch(of[pixel] + k);
        }
    }

  private:
    static constexpr int ABOVE = (N - SIDE) / 2;
    const T* at[N * N];
    const uint8_t* of[POOLED ? N * N : 1];
};

// Patches about every `stride`th tile, one after another. Their pixels lie in more places than a processor foresees,
// so that while one is worked on the next is fetched.
template <class T, int N, bool POOLED>
class Walk {
  public:
    Walk(const Tiles& tiles, const T* x, const uint8_t* which, int channels, int tile, int stride = 1)
        : tiles(tiles), x(x), which(which), channels(channels), tile(tile + stride), stride(stride),
          now(tiles, x, which, channels, tile), next(tiles, x, which, channels, tile + stride) {}

    void go_on() {
        tile += stride;
        now = next;
        next = Patch<T, N, POOLED>(tiles, x, which, channels, tile);
    }

    // To be called with k = 0, and then in steps of no more than a cache line.
    void fetch(int k) const {
        if (k % (64 / sizeof(T)) == 0) next.fetch(k);
    }

    template <class Some>
    auto operator()(int i, int j, int k, Some some) const {
        return now(i, j, k, some);
    }

  private:
    const Tiles tiles;  // not a reference: it would be read again after every store
    const T* x;
    const uint8_t* which;
    int channels, tile, stride;
    Patch<T, N, POOLED> now, next;
};

// Where the ith of so many parts of n begins.
constexpr int part(int n, int i, int parts) { return int(int64_t(n) * i / parts); }

}  // namespace
