// The float32 kernels against the same functions in float64, for processors that this one is not: every pass, odd
// sizes, memory at odd offsets. Prints what is further off than it may be; the exit status says whether anything is.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

extern "C" void winograd_convolution(const float* x, const uint8_t* x_which, const float* filters, float* y,
                                     uint8_t* y_which, int images, int height, int width, int c_in, int c_out,
                                     int gradient);
extern "C" void winograd_weight_gradient(const float* x, const float* g, const uint8_t* g_which, float* dw, int images,
                                         int height, int width, int c_in, int c_out);

struct Shape {
    int images, height, width, channels, pool, splits, strided;
};

extern "C" void pool_norm_act(const Shape* shape, int activation, float alpha, const float* x, const float* weight,
                              const float* bias, float eps, int known, float* mean, float* invstd, float* variance,
                              float* pooled, uint8_t* where, float* y);
extern "C" void pool_norm_act_backward(const Shape* shape, int activation, float alpha, const float* g,
                                       const float* middle, const uint8_t* where, const float* weight,
                                       const float* bias, const float* mean, const float* invstd, float* scratch,
                                       float* dx, float* dweight, float* dbias);

namespace {

using Wide = std::vector<double>;
bool failed = false;

// Numbers at an odd offset, with what must stay as it is on both sides.
struct Values {
    std::vector<float> all;
    explicit Values(size_t count, double middle = 9, double width = 0) : all(count + 2, 77.0f) {
        static uint32_t state = 1;
        for (size_t i = 0; i < count; i++) {
            state = state * 1664525u + 1013904223u;
            all[i + 1] = float(middle + width * (state / 4294967296.0 - 0.5));
        }
    }
    float* data() { return all.data() + 1; }
    float operator[](size_t i) const { return all[i + 1]; }
    size_t size() const { return all.size() - 2; }
    bool whole() const { return all.front() == 77.0f && all.back() == 77.0f; }
};

void check(const std::string& what, const Values& got, const Wide& wanted, double most) {
    double apart = 0, size = 0;
    for (size_t i = 0; i < wanted.size(); i++) {
        apart += std::pow(got[i] - wanted[i], 2);
        size += wanted[i] * wanted[i];
    }
    const double off = std::sqrt(apart / size);
    if (off <= most && got.whole()) return;
    std::printf("%s: off by %.2g of its size, where %.2g may be%s\n", what.c_str(), off, most,
                got.whole() ? "" : "; written beyond its ends");
    failed = true;
}

// Calls body(pixel, neighbour, tap) for each two pixels that a filter joins.
template <class Body>
void each(int images, int height, int width, Body body) {
    for (int n = 0; n < images; n++)
        for (int r = 0; r < height; r++)
            for (int c = 0; c < width; c++)
                for (int t = 0; t < 9; t++) {
                    const int row = r + t / 3 - 1, column = c + t % 3 - 1;
                    if (row >= 0 && row < height && column >= 0 && column < width)
                        body((n * height + r) * width + c, (n * height + row) * width + column, t);
                }
}

// Of pixel (r, c) of pooled image n, the one of four that is `which`.
int pixel_of(int n, int r, int c, int which, int height, int width) {
    return (n * height + 2 * r + which / 2) * width + 2 * c + which % 2;
}

void convolution(int images, int height, int width, int in, int out, bool pooled) {
    const int rows = pooled ? height / 2 : height, columns = pooled ? width / 2 : width;
    const size_t pixels = size_t(images) * height * width, results = size_t(images) * rows * columns * out;
    Values x(pixels * in, 0.3, 2), w(size_t(out) * 9 * in, 0, 1), g(results, 0, 2), y(results), dx(pixels * in),
        dw(w.size());
    std::vector<uint8_t> which(pooled ? results : 0);
    uint8_t* const chosen = pooled ? which.data() : nullptr;
    winograd_convolution(x.data(), nullptr, w.data(), y.data(), chosen, images, height, width, in, out, 0);
    winograd_convolution(g.data(), chosen, w.data(), dx.data(), nullptr, images, height, width, in, out, 1);
    winograd_weight_gradient(x.data(), g.data(), chosen, dw.data(), images, height, width, in, out);

    Wide whole(pixels * out), spread(pixels * out), wanted_y(results), wanted_dx(pixels * in), wanted_dw(w.size());
    each(images, height, width, [&](int to, int from, int tap) {
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++)
                whole[size_t(to) * out + o] += double(x[size_t(from) * in + i]) * w[(size_t(o) * 9 + tap) * in + i];
    });
    for (size_t k = 0; k < results; k++) {
        const int pixel = k / out, n = pixel / (rows * columns), r = pixel / columns % rows, c = pixel % columns;
        const int corner = pooled ? which[k] : 0;
        const int at = pooled ? pixel_of(n, r, c, corner, height, width) : pixel;
        wanted_y[k] = whole[size_t(at) * out + k % out];
        for (int other = 0; pooled && other < 4; other++)  // as large as any, but for rounding
            wanted_y[k] = std::max(wanted_y[k], whole[size_t(pixel_of(n, r, c, other, height, width)) * out + k % out]);
        spread[size_t(at) * out + k % out] = g[k];
    }
    each(images, height, width, [&](int to, int from, int tap) {
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++) {
                const double d = spread[size_t(to) * out + o];
                wanted_dx[size_t(from) * in + i] += d * w[(size_t(o) * 9 + tap) * in + i];
                wanted_dw[(size_t(o) * 9 + tap) * in + i] += d * x[size_t(from) * in + i];
            }
    });
    const std::string name = std::to_string(in) + " -> " + std::to_string(out) + " at " + std::to_string(height) + "x" +
                             std::to_string(width) + (pooled ? ", pooled: " : ": ");
    // float32 is off by 6e-8; a window's or a filter's transform makes that about ten times as much, each way
    check(name + "forward", y, wanted_y, 4e-6);
    check(name + "gradient of the input", dx, wanted_dx, 4e-6);
    check(name + "gradient of the filters", dw, wanted_dw, 4e-6);
}

double act(int kind, double z, double alpha, bool slope) {
    const double s = 1 / (1 + std::exp(-z)), below = 0.5 * std::erfc(-z * std::sqrt(0.5));
    const double decay = std::exp(std::min(z, 0.0) / alpha), bell = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
    switch (kind) {
        case 0: return slope ? z > 0 : std::max(z, 0.0);
        case 1: return slope ? decay : std::max(z, 0.0) + alpha * (decay - 1);
        case 2: return slope ? s + z * s * (1 - s) : z * s;
        default: return slope ? below + z * bell : z * below;
    }
}

void norm(int kind, int images, int height, int width, int channels, bool pooled, int splits, bool strided) {
    const float alpha = 0.3f, eps = 1e-5f;
    const Shape shape{images, height, width, channels, pooled ? 2 : 1, splits, strided};
    const int rows = pooled ? height / 2 : height, columns = pooled ? width / 2 : width, pixels = rows * columns;
    const size_t large = size_t(images) * height * width * channels, size = size_t(images) * pixels * channels;
    Values x(large, 0.5, 6), weight(channels, 1, 1), bias(channels, 0, 2), g(size, 0, 2), y(size), middle(size),
        scratch(size), dx(large), dweight(channels), dbias(channels), mean(size_t(splits) * channels),
        invstd(mean.size()), variance(mean.size());
    std::vector<uint8_t> where(pooled ? size : 0);
    pool_norm_act(&shape, kind, alpha, x.data(), weight.data(), bias.data(), eps, 0, mean.data(), invstd.data(),
                  variance.data(), pooled ? middle.data() : x.data(), where.data(), y.data());
    pool_norm_act_backward(&shape, kind, alpha, g.data(), pooled ? middle.data() : x.data(), where.data(),
                           weight.data(), bias.data(), mean.data(), invstd.data(), pooled ? scratch.data() : dx.data(),
                           dx.data(), dweight.data(), dbias.data());

    auto at = [&](int n, int p, int corner) {
        return size_t(pooled ? pixel_of(n, p / columns, p % columns, corner, height, width) : n * pixels + p);
    };
    Wide largest(size), wanted_y(size), wanted_dx(large), wanted_dweight(channels), wanted_dbias(channels);
    std::vector<size_t> from(size);
    for (size_t k = 0; k < size; k++)
        for (int corner = 0; corner < (pooled ? 4 : 1); corner++) {
            const int pixel = k / channels;
            const size_t one = at(pixel / pixels, pixel % pixels, corner) * channels + k % channels;
            if (corner == 0 || x[one] > largest[k]) largest[k] = x[one], from[k] = one;
        }
    for (int part = 0; part < splits; part++)
        for (int c = 0; c < channels; c++) {
            std::vector<size_t> of;
            for (size_t k = c; k < size; k += channels) {
                const int n = k / channels / pixels;
                if ((strided ? n % splits : n * splits / images) == part) of.push_back(k);
            }
            double m = 0, v = 0, sum_d = 0, sum_dh = 0;
            for (size_t k : of) m += largest[k] / of.size();
            for (size_t k : of) v += std::pow(largest[k] - m, 2) / of.size();
            const double s = 1 / std::sqrt(v + eps);
            for (size_t k : of) {
                const double h = (largest[k] - m) * s, z = h * weight[c] + bias[c];
                const double d = g[k] * act(kind, z, alpha, true);
                wanted_y[k] = act(kind, z, alpha, false);
                sum_d += d, sum_dh += d * h;
            }
            for (size_t k : of) {
                const double h = (largest[k] - m) * s, d = g[k] * act(kind, h * weight[c] + bias[c], alpha, true);
                wanted_dx[from[k]] = (d - sum_d / of.size() - h * sum_dh / of.size()) * weight[c] * s;
            }
            wanted_dbias[c] += sum_d, wanted_dweight[c] += sum_dh;
        }
    const std::string name = "activation " + std::to_string(kind) + " of " + std::to_string(channels) + " at " +
                             std::to_string(height) + "x" + std::to_string(width) + (pooled ? ", pooled: " : ": ");
    check(name + "forward", y, wanted_y, 1e-6);
    check(name + "gradient of the input", dx, wanted_dx, 1e-6);
    check(name + "gradient of the scale", dweight, wanted_dweight, 1e-6);
    check(name + "gradient of the shift", dbias, wanted_dbias, 1e-6);
}

}  // namespace

int main() {
    const int shapes[][5] = {{2, 7, 5, 3, 16},  {1, 1, 1, 1, 16},   {3, 3, 3, 24, 16}, {1, 9, 8, 1, 48},
                             {2, 8, 4, 16, 32}, {5, 6, 11, 37, 40}, {9, 15, 13, 5, 8}, {1, 2, 3, 33, 80}};
    for (const auto& s : shapes)
        for (bool pooled : {false, true})
            if (!pooled || (s[1] > 1 && s[2] > 1)) convolution(s[0], s[1], s[2], s[3], s[4], pooled);
    for (int kind = 0; kind < 4; kind++) {
        norm(kind, 6, 7, 5, 32, true, 1, true);
        norm(kind, 6, 3, 3, 16, false, 3, true);
        norm(kind, 8, 4, 6, 48, true, 2, false);
    }
    return failed;
}
