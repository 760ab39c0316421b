// Pool, norm and activation in one, forward and backward: y = act(norm(pool(x))), where pool takes the largest of
// 2 x 2 pixels or nothing at all, and norm is batch norm over `splits` parts of the batch apart. Images are NHWC, in
// what `number` is, which who includes this says and has a `load` and a `store` of; channels come in sixteens.
// Sums are of float32 within an image and of float64 over images.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

#include "vectors.h"

namespace {

// e^v, v at most 88, and 1 / v, as exactly as what is made of them can be kept.
constexpr bool SHORT = sizeof(number) < sizeof(float);
inline lanes power(lanes v) { return SHORT ? nearly_exponential(v) : exponential(v); }
inline lanes inverse(lanes v) { return SHORT ? nearly_reciprocal(v) : reciprocal(v); }

// Activations and their slopes; what is not a number stays so.
struct Relu {
    lanes value(lanes z) const { return z < 0.0f ? lanes{} : z; }
    lanes slope(lanes z) const { return only(z > 0.0f, all(1.0f)); }
};

struct Celu {
    float alpha;
    lanes value(lanes z) const { return (z < 0.0f ? lanes{} : z) + alpha * (decay(z) - 1.0f); }
    lanes slope(lanes z) const { return decay(z); }
    lanes decay(lanes z) const {  // 1 for what is positive
        return power(smaller(z, lanes{}) * (1 / alpha));
    }
};

struct Silu {
    lanes gate(lanes z) const { return inverse(1.0f + power(smaller(-z, all(87.0f)))); }
    lanes value(lanes z) const { return z * gate(z); }
    lanes slope(lanes z) const {  // s + z s (1 - s)
        const lanes s = gate(z);
        return s + s * (z * (1.0f - s));
    }
};

// The error function by Abramowitz and Stegun's formula 7.1.26, off by at most 1.5e-7.
struct Gelu {
    lanes below(lanes z, lanes bell) const {  // the normal distribution; bell = e^(-z^2 / 2)
        const lanes size = smaller(larger(z, -z), all(1e9f));  // an infinity has no reciprocal here
        const lanes t = inverse(1.0f + size * (0.3275911f * 0.70710678f));
        lanes p = all(1.061405429f);
        for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = p * t + c;
        const lanes tail = 0.5f * (p * t) * bell;
        return z > 0.0f ? 1.0f - tail : tail;
    }
    lanes bell(lanes z) const { return power(-0.5f * (z * z)); }
    lanes value(lanes z) const { return z * below(z, bell(z)); }
    lanes slope(lanes z) const {
        const lanes b = bell(z);
        return below(z, b) + z * 0.39894228f * b;
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

inline void add(float* to, lanes v) { store(to, load(to) + v); }

// The largest of 2 x 2 pixels and which it was (the first of several), row by row.
void pool_image(const Shape& s, const number* x, number* pooled, uint8_t* where, float* sum, float* square) {
    const size_t row = size_t(s.width) * s.channels;
    const size_t beside[4] = {0, size_t(s.channels), row, row + s.channels};
    for (int r = 0; r < s.out_h(); r++)
        for (int c = 0; c < s.out_w(); c++) {
            const number* from = x + 2 * r * row + 2 * size_t(c) * s.channels;
            for (int k = 0; k < s.channels; k += LANES, pooled += LANES, where += LANES) {
                lanes best = load(from + k);
                whole at = {};
                for (int i = 1; i < 4; i++) take_larger(load(from + beside[i] + k), i, best, at);
                store(pooled, best);
                store_small(where, at);
                add(sum + k, best);
                add(square + k, best * best);
            }
        }
}

// What is written for a pooled pixel's gradient: it goes to where the largest was, and 0 to the others.
inline void spread(const Shape& s, lanes v, const uint8_t* where, number* dx, int r, int c, int k) {
    const size_t row = size_t(s.width) * s.channels;
    number* to = dx + 2 * r * row + 2 * size_t(c) * s.channels + k;
    const size_t beside[4] = {0, size_t(s.channels), row, row + s.channels};
    const whole at = load_small(where);
    for (int i = 0; i < 4; i++) store(to + beside[i], only(at == i, v));
}

// The last row and column that an odd image has beyond its pooled pixels.
void clear_rest(const Shape& s, number* dx) {
    const size_t row = size_t(s.width) * s.channels;
    if (s.width % 2)
        for (int r = 0; r < s.height; r++)
            std::memset(dx + (r + 1) * row - s.channels, 0, sizeof(number) * s.channels);
    if (s.height % 2) std::memset(dx + (s.height - 1) * row, 0, sizeof(number) * row);
}

template <class Act>
void forward(const Shape& s, Act act, const number* x, const float* weight, const float* bias, float eps,
             int known, float* mean, float* invstd, float* variance, number* pooled, uint8_t* where, number* y) {
    const int channels = s.channels;
    const std::vector<double> sums = summed(s, [&](int n, float* sum, float* square) {
        const number* from = x + n * s.x_image();
        if (s.pool == 2) {
            pool_image(s, from, pooled + n * s.image(), where + n * s.image(), sum, square);
        } else if (!known) {
            for (int p = 0; p < s.pixels(); p++, from += channels)
                for (int k = 0; k < channels; k += LANES) {
                    const lanes v = load(from + k);
                    add(sum + k, v);
                    add(square + k, v * v);
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
    const number* middle = s.pool == 2 ? pooled : x;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < s.images; n++) {
        const float *a = &scale[s.part(n) * channels], *b = &shift[s.part(n) * channels];
        const number* from = middle + n * s.image();
        number* to = y + n * s.image();
        for (int p = 0; p < s.pixels(); p++, from += channels, to += channels)
            for (int k = 0; k < channels; k += LANES)
                store(to + k, act.value(load(from + k) * load(a + k) + load(b + k)));
    }
}

template <class Act>
void backward(const Shape& s, Act act, const number* g, const number* middle, const uint8_t* where,
              const float* weight, const float* bias, const float* mean, const float* invstd, number* scratch,
              number* dx, float* dweight, float* dbias) {
    const int channels = s.channels;
    // of normalised values h = (x - mean) * invstd and d = g * act'(h * weight + bias): the sums of d and d * h
    auto normal = [&](int i, int k, const number* from) {
        return (load(from + k) - load(mean + i + k)) * load(invstd + i + k);
    };
    const std::vector<double> sums = summed(s, [&](int n, float* sum_d, float* sum_dh) {
        const int i = s.part(n) * channels;
        const number *from = middle + n * s.image(), *gradient = g + n * s.image();
        number* kept = scratch + n * s.image();
        for (int p = 0; p < s.pixels(); p++, from += channels, gradient += channels, kept += channels)
            for (int k = 0; k < channels; k += LANES) {
                const lanes h = normal(i, k, from), z = h * load(weight + k) + load(bias + k);
                const lanes d = load(gradient + k) * act.slope(z);
                store(kept + k, d);
                add(sum_d + k, d);
                add(sum_dh + k, d * h);
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
        const number *from = middle + n * s.image(), *kept = scratch + n * s.image();
        const uint8_t* at = s.pool == 2 ? where + n * s.image() : nullptr;
        number* to = dx + n * s.x_image();
        if (at) clear_rest(s, to);
        for (int p = 0; p < s.pixels(); p++, from += channels, kept += channels)
            for (int k = 0; k < channels; k += LANES) {
                const lanes h = normal(i, k, from);
                const lanes own = load(kept + k) - load(&mean_d[i + k]) - h * load(&mean_dh[i + k]);
                const lanes d = own * load(&scale[i + k]);
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

extern "C" void pool_norm_act(const Shape* shape, int activation, float alpha, const number* x,
                              const float* weight, const float* bias, float eps, int known, float* mean,
                              float* invstd, float* variance, number* pooled, uint8_t* where, number* y) {
    with_activation(activation, alpha, [&](auto act) {
        forward(*shape, act, x, weight, bias, eps, known, mean, invstd, variance, pooled, where, y);
    });
}

extern "C" void pool_norm_act_backward(const Shape* shape, int activation, float alpha, const number* g,
                                       const number* middle, const uint8_t* where, const float* weight,
                                       const float* bias, const float* mean, const float* invstd,
                                       number* scratch, number* dx, float* dweight, float* dbias) {
    with_activation(activation, alpha, [&](auto act) {
        backward(*shape, act, g, middle, where, weight, bias, mean, invstd, scratch, dx, dweight, dbias);
    });
}
