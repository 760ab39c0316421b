// The convolution of each channel by itself, bias and a clamp in one, for nets that no longer learn; float32 and
// bfloat16, NHWC, on any processor: in the compiler's own vectors, which it makes of what there is.
// kernels/frozen.py checks what it is given and says what it is for.
//
// A row of results is made in tiles: 32 channels of up to eight neighbouring pixels stay in registers while their
// inputs are read once each. Inputs are found through a table of pointers, in which what lies outside of the image
// points to zeros: so there are no edges.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using bf16 = uint16_t;
constexpr int LANES = 16, BLOCK = 2 * LANES, MOST = 8;
typedef float lanes __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));

// 32 channels: of float32 the first and the last sixteen, of bfloat16 the even and the odd ones, which takes one
// operation each to widen where their order would take two. Taps and biases come in the same order.
struct Channels {
    lanes a, b;
};

inline lanes sixteen(const float* from) {
    lanes v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline Channels load(const float* from) { return {sixteen(from), sixteen(from + LANES)}; }

inline Channels load(const bf16* from) {
    words pairs;
    std::memcpy(&pairs, from, sizeof pairs);
    return {(lanes)(pairs << 16), (lanes)(pairs & 0xffff0000u)};
}

inline void store(float* to, lanes a, lanes b) {
    std::memcpy(to, &a, sizeof a);
    std::memcpy(to + LANES, &b, sizeof b);
}

// To the nearest bfloat16, and of two the even one, in the upper half.
inline words rounded(lanes v) {
    const words bits = (words)v;
    return bits + 0x7fffu + ((bits >> 16) & 1u);
}

inline void store(bf16* to, lanes a, lanes b) {
    const words pairs = (rounded(a) >> 16) | (rounded(b) & 0xffff0000u);
    std::memcpy(to, &pairs, sizeof pairs);
}

// From 0 to `most`; what is not a number stays so.
inline lanes clamped(lanes v, float most) {
    const lanes zero = {}, top = zero + most;
    v = v < zero ? zero : v;
    return v > top ? top : v;
}

struct Shape {
    int images, height, width, out_height, out_width, channels;
    int kernel, stride, above, left;  // the last two: rows and columns of padding
    float most;
};

// W results of 32 channels. `inputs` has a pointer for each of the kernel's rows and each column; rows first <=
// row < last lie in the image.
template <class T, int K, int S, int W>
inline void tile(const Shape& s, const T* const* inputs, int columns, int first, int last, int channel,
                 const float* taps, T* out) {
    lanes a[W], b[W];
    const Channels bias = load(taps + K * K * BLOCK);
    for (int i = 0; i < W; i++) a[i] = bias.a, b[i] = bias.b;
    for (int row = first; row < last; row++) {
        Channels tap[K];
        for (int k = 0; k < K; k++) tap[k] = load(taps + (row * K + k) * BLOCK);
        const T* const* at = inputs + size_t(row) * columns;
#pragma GCC unroll 32
        for (int j = 0; j < (W - 1) * S + K; j++) {
            const Channels v = load(at[j] + channel);
#pragma GCC unroll 8
            for (int k = 0; k < K; k++) {
                const int i = j - k;  // of the result, where the stride leaves one
                if (i >= 0 && i % S == 0 && i / S < W) {
                    a[i / S] += v.a * tap[k].a;
                    b[i / S] += v.b * tap[k].b;
                }
            }
        }
    }
    for (int i = 0; i < W; i++)
        store(out + size_t(i) * s.channels, clamped(a[i], s.most), clamped(b[i], s.most));
}

template <class T, int K, int S>
void convolve(const Shape& s, const T* x, const float* taps, T* y) {
    const int columns = std::max((s.out_width - 1) * S + K, s.left + s.width);
    const int tiles = (s.out_width + MOST - 1) / MOST, blocks = (s.channels + BLOCK - 1) / BLOCK;
#pragma omp parallel
    {
        const std::vector<T> zeros(s.channels);
        std::vector<const T*> inputs((size_t)K * columns);
#pragma omp for collapse(2) schedule(static)
        for (int n = 0; n < s.images; n++)
            for (int r = 0; r < s.out_height; r++) {
                const int top = r * S - s.above;
                const int first = std::max(0, -top), last = std::min(K, s.height - top);
                for (int k = first; k < last; k++)
                    for (int j = 0; j < columns; j++) {
                        const int c = j - s.left;
                        const size_t pixel = (size_t(n) * s.height + top + k) * s.width + c;
                        inputs[size_t(k) * columns + j] =
                            c < 0 || c >= s.width ? zeros.data() : x + pixel * s.channels;
                    }
                T* to = y + (size_t(n) * s.out_height + r) * s.out_width * s.channels;
                for (int t = 0; t < tiles; t++) {  // all channels of one before the next: they lie together
                    const int from = t * s.out_width / tiles, stop = (t + 1) * s.out_width / tiles;
                    const T* const* at = inputs.data() + from * S;
                    for (int g = 0; g < blocks; g++) {
                        const int channel = std::min(g * BLOCK, s.channels - BLOCK);  // the last may overlap
                        const float* own = taps + size_t(g) * (K * K + 1) * BLOCK;
                        T* out = to + size_t(from) * s.channels + channel;
#define TILE(W)                                                                \
    case W:                                                                    \
        tile<T, K, S, W>(s, at, columns, first, last, channel, own, out);      \
        break;
                        switch (stop - from) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) }
#undef TILE
                    }
                }
            }
    }
}

template <class T>
void any(const Shape& s, const T* x, const float* taps, T* y) {
    if (s.kernel == 3) return s.stride == 1 ? convolve<T, 3, 1>(s, x, taps, y) : convolve<T, 3, 2>(s, x, taps, y);
    return s.stride == 1 ? convolve<T, 5, 1>(s, x, taps, y) : convolve<T, 5, 2>(s, x, taps, y);
}

}  // namespace

extern "C" void depthwise_fp32(const Shape* shape, const float* x, const float* taps, float* y) {
    any(*shape, x, taps, y);
}

extern "C" void depthwise_bf16(const Shape* shape, const bf16* x, const float* taps, bf16* y) {
    any(*shape, x, taps, y);
}
