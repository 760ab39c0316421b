// Training kernels for processors with AVX512-BF16: the weight gradient of a convolution, and pool, norm and
// activation in one. Images are NHWC in bfloat16; statistics, parameters and gradients of parameters float32.
// Channels come in sixteens, but for the input of a weight gradient. kernels/cpu.py builds this file and checks
// what it is given; kernels/functions.py says what each function is for.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <immintrin.h>
#include <omp.h>

#include "lanes.h"

using number = bf16;
#include "norm.h"  // pool, norm and activation

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
