// What bounds a convolution on a CPU's tile unit (AMX): products of tiles of one core, with more of what
// kernels/amx.cpp does around them from line to line. Run it with nothing else on the machine:
//
//     mkdir -p build
//     g++ -O2 -march=native -std=c++17 -fopenmp -w benchmarks/tiles.cpp -o build/tiles && build/tiles

#include <chrono>
#include <cstdio>

#include "../src/hotlap/kernels/amx.cpp"

#ifndef __AMX_BF16__
int main() { std::puts("this processor has no AMX"); return 2; }
#else

constexpr int PIXELS = 64, ROUNDS = 8, TAPS = 9, TIMES = 60;
constexpr int ROW = 16 * BLOCK;  // of images of 16 pixels across
constexpr double FLOPS = 2.0 * 16 * 16 * 32;  // of a product of tiles

static bf16 *images, *filters;
static float* sums;

// Four products, of two tiles of images and two of filters.
static inline void four(const bf16* a, const bf16* b) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + TILE, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + TILE, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

static inline void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static inline void take(const float* from) {
    _tile_loadd(0, from, 128);
    _tile_loadd(1, from + 16, 128);
    _tile_loadd(2, from + 512, 128);
    _tile_loadd(3, from + 528, 128);
}

static inline void put(float* to) {
    _tile_stored(0, to, 128);
    _tile_stored(1, to + 16, 128);
    _tile_stored(2, to + 512, 128);
    _tile_stored(3, to + 528, 128);
}

// The 3x3 pixels around a pixel, of `deep` times 32 inputs.
static inline void around(int pixel, int deep) {
    for (int d = 0; d < deep; d++)
        for (int tap = 0; tap < TAPS; tap++)
            four(images + d * PIXELS * BLOCK + pixel * BLOCK + tap / 3 * ROW + tap % 3 * BLOCK,
                 filters + (d * TAPS + tap) * BLOCK);
}

template <class Work>
static void show(const char* what, int deep, Work work) {
    double best = 1e9;
    for (int i = 0; i < TIMES; i++) {
        const auto start = std::chrono::steady_clock::now();
        for (int round = 0; round < ROUNDS; round++)
            for (int pixel = 0; pixel < PIXELS; pixel++) work(pixel);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    const double products = double(ROUNDS) * PIXELS * TAPS * 4 * deep;
    std::printf("%-66s %5.2f ns a product  %5.2f TFLOP/s\n", what, 1e9 * best / products, FLOPS * products / best / 1e12);
}

int main() {
    if (!amx()) return std::puts("the system lets nobody have the tiles"), 2;
    Configured tiles;
    constexpr size_t SIZE = size_t(4) << 20;
    images = kept[0].of<bf16>(SIZE);
    std::memset(images, 0, SIZE * sizeof(bf16));
    filters = images + (size_t(1) << 20);
    sums = reinterpret_cast<float*>(images + (size_t(2) << 20));

    clear();
    show("products alone", 1, [](int) {
        for (int tap = 0; tap < TAPS; tap++) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    });
    show("and their tiles loaded, at the same pixel", 1, [](int) { around(0, 1); });
    show("at one pixel after another", 1, [](int pixel) { around(pixel, 1); });
    show("and sums of 32 inputs put down, always in the same place", 1, [](int) { clear(), around(0, 1), put(sums); });
    show("at one pixel after another", 1, [](int pixel) { clear(), around(pixel, 1), put(sums + pixel * BLOCK); });
    show("and taken up again: as 32 inputs after others are added", 1,
         [](int pixel) { take(sums + pixel * BLOCK), around(pixel, 1), put(sums + pixel * BLOCK); });
    show("the same with 64 inputs at a time", 2,
         [](int pixel) { take(sums + pixel * BLOCK), around(pixel, 2), put(sums + pixel * BLOCK); });
    show("the same with 128 inputs at a time", 4,
         [](int pixel) { take(sums + pixel * BLOCK), around(pixel, 4), put(sums + pixel * BLOCK); });
    return 0;
}

#endif
