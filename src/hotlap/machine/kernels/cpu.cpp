// Training kernels for processors with AVX512-BF16: the weight gradient of a convolution, and pool, norm and
// activation in one. Images are NHWC in bfloat16; statistics, parameters and gradients of parameters float32.
// Channels come in sixteens, but for the input of a weight gradient. kernels/cpu.py builds this file and checks
// what it is given; kernels/functions.py says what each function is for.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <cmath>
#include <vector>

#include <immintrin.h>
#include <omp.h>

#include "lanes.h"

// ---- weight gradient -------------------------------------------------------------------------------------
//
// dw[tap][i][o] = sum over images and pixels of x[pixel + tap][i] * g[pixel][o]. The processor multiplies pairs
// of bfloat16 and adds both products to a float32, so two images are interleaved and summed together. A tile of
// IN input by OUT output channels stays in registers over all pixels of a few images, whose channels are
// packed in blocks as wide as the tile: what a tile reads lies together and stays in the first-level cache.

namespace {

constexpr int IN = 8, V = 2, OUT = 16 * V;
constexpr size_t CHUNK = 384 << 10;  // bytes of packed images at a time: less than half of a second-level cache

// Adds to dw over a rectangle of `rows` x `columns` pixels of each pair of images; strides count pairs.
void tile(const pair* x, const pair* g, int pairs, int rows, int columns, int x_row, int x_image, int g_row,
          int g_image, float* dw) {
    __m512 sum[IN][V];
    for (int a = 0; a < IN; a++)
        for (int v = 0; v < V; v++) sum[a][v] = _mm512_loadu_ps(dw + a * OUT + 16 * v);
    for (int n = 0; n < pairs; n++)
        for (int r = 0; r < rows; r++) {
            const pair* at = x + size_t(n) * x_image + size_t(r) * x_row;
            const pair* from = g + size_t(n) * g_image + size_t(r) * g_row;
            for (int c = 0; c < columns; c++, at += IN, from += OUT) {
                __m512bh wide[V];
                for (int v = 0; v < V; v++) wide[v] = (__m512bh)_mm512_loadu_si512(from + 16 * v);
                for (int a = 0; a < IN; a++) {
                    __m512bh one = (__m512bh)_mm512_set1_epi32(int(at[a]));
                    for (int v = 0; v < V; v++) sum[a][v] = _mm512_dpbf16_ps(sum[a][v], one, wide[v]);
                }
            }
        }
    for (int a = 0; a < IN; a++)
        for (int v = 0; v < V; v++) _mm512_storeu_ps(dw + a * OUT + 16 * v, sum[a][v]);
}

// Pixels of two images, interleaved, to blocks of BLOCK channels; the second image may be missing, and channels
// that are missing from the last block stay as they are.
template <int BLOCK>
void pack(const bf16* a, const bf16* b, int pixels, int channels, pair* out, size_t block_stride) {
    for (int p = 0; p < pixels; p++, a += channels, b += b ? channels : 0, out += BLOCK)
        for (int c = 0; c < channels; c += BLOCK) {
            pair* to = out + (c / BLOCK) * block_stride;
            const int n = std::min(BLOCK, channels - c);
            if (n == BLOCK && b)
                for (int i = 0; i < BLOCK; i++) to[i] = pair(a[c + i]) | pair(b[c + i]) << 16;
            else
                for (int i = 0; i < n; i++) to[i] = pair(a[c + i]) | (b ? pair(b[c + i]) << 16 : 0);
        }
}

}  // namespace

// x (images, height, width, c_in), g (images, height', width', c_out), dw (c_out, kernel, kernel, c_in)
extern "C" void weight_gradient(const bf16* x, const bf16* g, float* dw, int images, int height, int width,
                                int c_in, int c_out, int kernel, int padding) {
    const int out_h = height + 2 * padding - kernel + 1, out_w = width + 2 * padding - kernel + 1;
    const int in_blocks = (c_in + IN - 1) / IN, out_blocks = (c_out + OUT - 1) / OUT, taps = kernel * kernel;
    const int x_row = width * IN, x_image = height * x_row, g_row = out_w * OUT, g_image = out_h * g_row;
    const int all_pairs = (images + 1) / 2;
    const size_t size = size_t(taps) * in_blocks * IN * out_blocks * OUT;
    const size_t bytes = sizeof(pair) * (size_t(x_image) * in_blocks + size_t(g_image) * out_blocks);
    const int chunk = std::max<int>(1, CHUNK / bytes), chunks = (all_pairs + chunk - 1) / chunk;
    const int threads = std::min(omp_get_max_threads(), chunks);
    std::vector<std::vector<float>> parts(threads);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float>& sums = parts[omp_get_thread_num()];
        sums.assign(size, 0.0f);
        const size_t x_block = size_t(chunk) * x_image, g_block = size_t(chunk) * g_image;
        std::vector<pair> xs(x_block * in_blocks, 0), gs(g_block * out_blocks, 0);
#pragma omp for schedule(static)
        for (int k = 0; k < chunks; k++) {
            const int first = k * chunk, pairs = std::min(chunk, all_pairs - first);
            for (int n = 0; n < pairs; n++) {
                const int image = 2 * (first + n), in = height * width, out = out_h * out_w;
                const bool second = image + 1 < images;
                const bf16 *xa = x + size_t(image) * in * c_in, *ga = g + size_t(image) * out * c_out;
                pack<IN>(xa, second ? xa + in * c_in : nullptr, in, c_in, &xs[size_t(n) * x_image], x_block);
                pack<OUT>(ga, second ? ga + out * c_out : nullptr, out, c_out, &gs[size_t(n) * g_image], g_block);
            }
            float* to = sums.data();
            for (int o = 0; o < out_blocks; o++)
                for (int i = 0; i < in_blocks; i++)
                    for (int down = -padding; down < kernel - padding; down++)
                        for (int right = -padding; right < kernel - padding; right++, to += IN * OUT) {
                            // the pixels of g whose pixel of x lies in the image and not in its padding
                            const int r = std::max(0, -down), c = std::max(0, -right);
                            const int rows = std::min(out_h, height - down) - r;
                            const int columns = std::min(out_w, width - right) - c;
                            tile(&xs[i * x_block] + (r + down) * x_row + (c + right) * IN,
                                 &gs[o * g_block] + r * g_row + c * OUT, pairs, rows, columns, x_row, x_image,
                                 g_row, g_image, to);
                        }
        }
        // tiles of every thread to (out, tap, in), the layout of a channels-last filter
#pragma omp for schedule(static)
        for (int o = 0; o < c_out; o++)
            for (int t = 0; t < taps; t++)
                for (int i = 0; i < c_in; i++) {
                    const size_t block = (size_t(o / OUT) * in_blocks + i / IN) * taps + t;
                    const size_t at = (block * IN + i % IN) * OUT + o % OUT;
                    float total = 0;
                    for (const auto& part : parts)
                        if (!part.empty()) total += part[at];  // fewer threads may come than were asked for
                    dw[(size_t(o) * taps + t) * c_in + i] = total;
                }
    }
}

// ---- pool, norm and activation ---------------------------------------------------------------------------
//
// y = act(norm(pool(x))), where pool takes the largest of 2 x 2 pixels or nothing at all, and norm is batch norm
// over `splits` parts of the batch apart. Sums are of float32 within an image and of float64 over images.

namespace {

// e^v to about 1e-7 of itself: v = n ln 2 + f, and e^f by its series
inline __m512 exponential(__m512 v) {
    v = _mm512_max_ps(v, all(-87.0f));  // also keeps the result from becoming denormal
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(v, all(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 f = _mm512_fnmadd_ps(n, all(0.693359375f), v);
    f = _mm512_fnmadd_ps(n, all(-2.12194440e-4f), f);
    __m512 e = all(1.0f / 720);
    for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) e = _mm512_fmadd_ps(e, f, all(c));
    return _mm512_scalef_ps(e, n);
}

struct Relu {
    __m512 value(__m512 z) const { return _mm512_max_ps(z, _mm512_setzero_ps()); }
    __m512 slope(__m512 z) const {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), all(1.0f));
    }
};

struct Celu {
    float alpha;
    __m512 value(__m512 z) const {
        __m512 bent = _mm512_mul_ps(all(alpha), _mm512_sub_ps(decay(z), all(1.0f)));
        return _mm512_add_ps(_mm512_max_ps(z, _mm512_setzero_ps()), bent);
    }
    __m512 slope(__m512 z) const { return decay(z); }
    __m512 decay(__m512 z) const {  // 1 for what is positive
        return exponential(_mm512_mul_ps(_mm512_min_ps(z, _mm512_setzero_ps()), all(1 / alpha)));
    }
};

struct Silu {
    __m512 gate(__m512 z) const {
        __m512 e = exponential(_mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), z), all(87.0f)));
        return _mm512_div_ps(all(1.0f), _mm512_add_ps(all(1.0f), e));
    }
    __m512 value(__m512 z) const { return _mm512_mul_ps(z, gate(z)); }
    __m512 slope(__m512 z) const {  // s + z s (1 - s)
        __m512 s = gate(z), rest = _mm512_mul_ps(z, _mm512_sub_ps(all(1.0f), s));
        return _mm512_fmadd_ps(s, rest, s);
    }
};

// The error function by Abramowitz and Stegun's formula 7.1.26, off by at most 1.5e-7.
struct Gelu {
    __m512 below(__m512 z, __m512 bell) const {  // the normal distribution; bell = e^(-z^2 / 2)
        __m512 t = _mm512_fmadd_ps(_mm512_abs_ps(z), all(0.3275911f * 0.70710678f), all(1.0f));
        t = _mm512_div_ps(all(1.0f), t);
        __m512 p = all(1.061405429f);
        for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
            p = _mm512_fmadd_ps(p, t, all(c));
        __m512 tail = _mm512_mul_ps(_mm512_mul_ps(all(0.5f), _mm512_mul_ps(p, t)), bell);
        __mmask16 positive = _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ);
        return _mm512_mask_sub_ps(tail, positive, all(1.0f), tail);
    }
    __m512 bell(__m512 z) const { return exponential(_mm512_mul_ps(all(-0.5f), _mm512_mul_ps(z, z))); }
    __m512 value(__m512 z) const { return _mm512_mul_ps(z, below(z, bell(z))); }
    __m512 slope(__m512 z) const {
        __m512 b = bell(z);
        return _mm512_fmadd_ps(_mm512_mul_ps(z, all(0.39894228f)), b, below(z, b));
    }
};

struct Shape {
    int images, height, width, channels;  // of x
    int pool;                             // 1 or 2: the side of what the largest is taken of
    int splits, strided;                  // parts of the batch: image n is in part n % splits, or they are runs
    int out_h() const { return height / pool; }
    int out_w() const { return width / pool; }
    int pixels() const { return out_h() * out_w(); }
    size_t x_image() const { return size_t(height) * width * channels; }
    size_t image() const { return size_t(pixels()) * channels; }
    int part(int n) const { return strided ? n % splits : int(int64_t(n) * splits / images); }
};

// Runs body(image, its two sums) over all images and returns the sums by part, (splits, 2, channels). Threads'
// sums are added in the threads' order, so that the same number of threads always gives the same bits.
template <class Body>
std::vector<double> summed(const Shape& s, Body body) {
    const size_t size = size_t(s.splits) * 2 * s.channels;
    std::vector<std::vector<double>> parts(omp_get_max_threads());
#pragma omp parallel
    {
        std::vector<double>& own = parts[omp_get_thread_num()];
        own.assign(size, 0.0);
        std::vector<float> one(2 * s.channels);
#pragma omp for schedule(static)
        for (int n = 0; n < s.images; n++) {
            std::fill(one.begin(), one.end(), 0.0f);
            body(n, one.data(), one.data() + s.channels);
            double* to = &own[size_t(s.part(n)) * 2 * s.channels];
            for (int c = 0; c < 2 * s.channels; c++) to[c] += one[c];
        }
    }
    std::vector<double> total(size, 0.0);
    for (const auto& own : parts)
        for (size_t i = 0; i < own.size(); i++) total[i] += own[i];
    return total;
}

inline void add(float* to, __m512 v) { _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), v)); }

// The largest of 2 x 2 pixels and which it was (the first of several), row by row.
void pool_image(const Shape& s, const bf16* x, bf16* pooled, uint8_t* where, float* sum, float* square) {
    const size_t row = size_t(s.width) * s.channels;
    const size_t beside[4] = {0, size_t(s.channels), row, row + s.channels};
    for (int r = 0; r < s.out_h(); r++)
        for (int c = 0; c < s.out_w(); c++) {
            const bf16* from = x + 2 * r * row + 2 * size_t(c) * s.channels;
            for (int k = 0; k < s.channels; k += 16, pooled += 16, where += 16) {
                __m512 best = load(from + k);
                __m128i at = _mm_setzero_si128();
                for (int i = 1; i < 4; i++) take_larger(load(from + beside[i] + k), i, best, at);
                store(pooled, best);
                _mm_storeu_si128((__m128i*)where, at);
                add(sum + k, best);
                add(square + k, _mm512_mul_ps(best, best));
            }
        }
}

// What is written for a pooled pixel's gradient: it goes to where the largest was, and 0 to the others.
inline void spread(const Shape& s, __m512 v, const uint8_t* where, bf16* dx, int r, int c, int k) {
    const size_t row = size_t(s.width) * s.channels;
    bf16* to = dx + 2 * r * row + 2 * size_t(c) * s.channels + k;
    const size_t beside[4] = {0, size_t(s.channels), row, row + s.channels};
    __m128i at = _mm_loadu_si128((const __m128i*)where);
    for (int i = 0; i < 4; i++)
        store(to + beside[i], _mm512_maskz_mov_ps(_mm_cmpeq_epi8_mask(at, _mm_set1_epi8(char(i))), v));
}

// The last row and column that an odd image has beyond its pooled pixels.
void clear_rest(const Shape& s, bf16* dx) {
    const size_t row = size_t(s.width) * s.channels;
    if (s.width % 2)
        for (int r = 0; r < s.height; r++)
            std::memset(dx + (r + 1) * row - s.channels, 0, sizeof(bf16) * s.channels);
    if (s.height % 2) std::memset(dx + (s.height - 1) * row, 0, sizeof(bf16) * row);
}

template <class Act>
void forward(const Shape& s, Act act, const bf16* x, const float* weight, const float* bias, float eps,
             int known, float* mean, float* invstd, float* variance, bf16* pooled, uint8_t* where, bf16* y) {
    const int channels = s.channels;
    const std::vector<double> sums = summed(s, [&](int n, float* sum, float* square) {
        const bf16* from = x + n * s.x_image();
        if (s.pool == 2) {
            pool_image(s, from, pooled + n * s.image(), where + n * s.image(), sum, square);
        } else if (!known) {
            for (int p = 0; p < s.pixels(); p++, from += channels)
                for (int k = 0; k < channels; k += 16) {
                    __m512 v = load(from + k);
                    add(sum + k, v);
                    add(square + k, _mm512_mul_ps(v, v));
                }
        }
    });
    const double count = double(s.images) / s.splits * s.pixels();
    std::vector<float> scale(size_t(s.splits) * channels), shift(scale.size());
    for (int part = 0; part < s.splits; part++)
        for (int k = 0; k < channels; k++) {
            const int i = part * channels + k;
            if (!known) {
                const double m = sums[size_t(part) * 2 * channels + k] / count;
                const double q = sums[(size_t(part) * 2 + 1) * channels + k] / count;
                const double v = std::max(0.0, q - m * m);
                mean[i] = float(m), variance[i] = float(v), invstd[i] = float(1 / std::sqrt(v + eps));
            }
            scale[i] = invstd[i] * weight[k];
            shift[i] = bias[k] - mean[i] * scale[i];
        }
    const bf16* middle = s.pool == 2 ? pooled : x;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < s.images; n++) {
        const float *a = &scale[s.part(n) * channels], *b = &shift[s.part(n) * channels];
        const bf16* from = middle + n * s.image();
        bf16* to = y + n * s.image();
        for (int p = 0; p < s.pixels(); p++, from += channels, to += channels)
            for (int k = 0; k < channels; k += 16) {
                __m512 z = _mm512_fmadd_ps(load(from + k), _mm512_loadu_ps(a + k), _mm512_loadu_ps(b + k));
                store(to + k, act.value(z));
            }
    }
}

template <class Act>
void backward(const Shape& s, Act act, const bf16* g, const bf16* middle, const uint8_t* where,
              const float* weight, const float* bias, const float* mean, const float* invstd, bf16* scratch,
              bf16* dx, float* dweight, float* dbias) {
    const int channels = s.channels;
    // of normalised values h = (x - mean) * invstd and d = g * act'(h * weight + bias): the sums of d and d * h
    auto normal = [&](int i, int k, const bf16* from) {
        __m512 h = _mm512_sub_ps(load(from + k), _mm512_loadu_ps(mean + i + k));
        return _mm512_mul_ps(h, _mm512_loadu_ps(invstd + i + k));
    };
    const std::vector<double> sums = summed(s, [&](int n, float* sum_d, float* sum_dh) {
        const int i = s.part(n) * channels;
        const bf16 *from = middle + n * s.image(), *gradient = g + n * s.image();
        bf16* kept = scratch + n * s.image();
        for (int p = 0; p < s.pixels(); p++, from += channels, gradient += channels, kept += channels)
            for (int k = 0; k < channels; k += 16) {
                const __m512 h = normal(i, k, from);
                const __m512 z = _mm512_fmadd_ps(h, _mm512_loadu_ps(weight + k), _mm512_loadu_ps(bias + k));
                const __m512 d = _mm512_mul_ps(load(gradient + k), act.slope(z));
                store(kept + k, d);
                add(sum_d + k, d);
                add(sum_dh + k, _mm512_mul_ps(d, h));
            }
    });
    const double count = double(s.images) / s.splits * s.pixels();
    std::vector<float> mean_d(size_t(s.splits) * channels), mean_dh(mean_d.size()), scale(mean_d.size());
    for (int k = 0; k < channels; k++) {
        double total_d = 0, total_dh = 0;
        for (int part = 0; part < s.splits; part++) {
            const double d = sums[size_t(part) * 2 * channels + k];
            const double dh = sums[(size_t(part) * 2 + 1) * channels + k];
            const int i = part * channels + k;
            mean_d[i] = float(d / count), mean_dh[i] = float(dh / count), scale[i] = weight[k] * invstd[i];
            total_d += d, total_dh += dh;
        }
        dbias[k] = float(total_d), dweight[k] = float(total_dh);
    }
#pragma omp parallel for schedule(static)
    for (int n = 0; n < s.images; n++) {
        const int i = s.part(n) * channels;
        const bf16 *from = middle + n * s.image(), *kept = scratch + n * s.image();
        const uint8_t* at = s.pool == 2 ? where + n * s.image() : nullptr;
        bf16* to = dx + n * s.x_image();
        if (at) clear_rest(s, to);
        for (int p = 0; p < s.pixels(); p++, from += channels, kept += channels)
            for (int k = 0; k < channels; k += 16) {
                const __m512 h = normal(i, k, from);
                __m512 d = _mm512_sub_ps(load(kept + k), _mm512_loadu_ps(&mean_d[i + k]));
                d = _mm512_fnmadd_ps(h, _mm512_loadu_ps(&mean_dh[i + k]), d);
                d = _mm512_mul_ps(d, _mm512_loadu_ps(&scale[i + k]));
                if (at)
                    spread(s, d, at + size_t(p) * channels + k, to, p / s.out_w(), p % s.out_w(), k);
                else
                    store(to + size_t(p) * channels + k, d);
            }
    }
}

template <class Work>
void with_activation(int kind, float alpha, Work work) {
    switch (kind) {
        case 0: return work(Relu{});
        case 1: return work(Celu{alpha});
        case 2: return work(Silu{});
        default: return work(Gelu{});
    }
}

}  // namespace

extern "C" void pool_norm_act(const Shape* shape, int activation, float alpha, const bf16* x,
                              const float* weight, const float* bias, float eps, int known, float* mean,
                              float* invstd, float* variance, bf16* pooled, uint8_t* where, bf16* y) {
    with_activation(activation, alpha, [&](auto act) {
        forward(*shape, act, x, weight, bias, eps, known, mean, invstd, variance, pooled, where, y);
    });
}

extern "C" void pool_norm_act_backward(const Shape* shape, int activation, float alpha, const bf16* g,
                                       const bf16* middle, const uint8_t* where, const float* weight,
                                       const float* bias, const float* mean, const float* invstd,
                                       bf16* scratch, bf16* dx, float* dweight, float* dbias) {
    with_activation(activation, alpha, [&](auto act) {
        backward(*shape, act, g, middle, where, weight, bias, mean, invstd, scratch, dx, dweight, dbias);
    });
}
