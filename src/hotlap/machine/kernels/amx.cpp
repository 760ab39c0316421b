// Convolutions for processors with AMX, whose tile unit multiplies (16, 32) by (32, 16) bfloat16 and adds the
// product to (16, 16) float32. Images are NHWC in bfloat16, filters float32; the stride is 1.
//
// A tile's sixteen rows are sixteen images at the same pixel. So no product is spent on padding, and maps of any
// size, 4x4 as well as 33x33, fill the tiles. Thirty-two images, or some of their rows, are packed first, so that
// each tile lies together and what is worked on stays in a second-level cache.

#include <cstddef>
#include <cstdint>

#ifdef __AMX_BF16__

#include <algorithm>
#include <cstring>

#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kept.h"
#include "lanes.h"

namespace {

constexpr int SIDE = 16;               // rows of a tile, and float32 in a row
constexpr int IMAGES = 2 * SIDE;       // images at a time
constexpr int WIDE = 2 * SIDE;         // channels at a time
constexpr int TILE = SIDE * 2 * SIDE;  // bfloat16 in a tile
constexpr int BLOCK = 2 * TILE;        // bfloat16 of 32 channels of 32 images at a pixel, or of a filter's 32 x 32
constexpr size_t ROOM = size_t(1280) << 10;  // bytes worked on at a time: most of a second-level cache of 2 MiB
constexpr size_t LARGE = size_t(16) << 20;  // bytes of a result that is written past the caches

thread_local Kept kept[3];

// The tiles' shapes, for as long as it lives: eight of 16 rows of 64 bytes.
class Configured {
  public:
    Configured() {
        static const struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } shapes;
        _tile_loadconfig(&shapes);
    }
    ~Configured() { _tile_release(); }
};

struct Shape {
    int images, height, width, channels;  // of what is packed
    int kernel, padding;
    int out_h() const { return height + 2 * padding - kernel + 1; }
    int out_w() const { return width + 2 * padding - kernel + 1; }
    int groups() const { return (images + IMAGES - 1) / IMAGES; }
    int blocks() const { return (channels + WIDE - 1) / WIDE; }
};

// Of a tap at distance `tap` from the padding's edge: the results [begin, end) whose pixel lies in `size` pixels.
struct Span {
    int begin, end;
    Span(int tap, int padding, int size, int out)
        : begin(std::max(0, padding - tap)), end(std::min(out, size + padding - tap)) {}
};

// Which rows are packed for the results of rows [begin, end).
struct Rows {
    int begin, end;
    Rows(const Shape& s, int from, int to)
        : begin(std::max(0, from - s.padding)), end(std::min(s.height, to - 1 - s.padding + s.kernel)) {}
    int count() const { return std::max(0, end - begin); }
};

// Where pixels lie, one for each of (images, height, width) or, where there is `which`, one for each 2x2 of them:
// the gradient of their largest, which `which` says, and 0 for the other three.
struct Source {
    const bf16* x;
    const uint8_t* which;
    int height, width, channels;

    size_t image() const { return size_t(which ? height / 2 : height) * (which ? width / 2 : width) * channels; }
    // from an image's first on, what pixel (r, c) or the 2x2 that it is in has
    size_t at(int r, int c) const {
        return which ? (size_t(r / 2) * (width / 2) + c / 2) * channels : (size_t(r) * width + c) * channels;
    }
    // with odd sides, the last row and column are in none
    bool has(int r, int c) const { return !which || (r / 2 < height / 2 && c / 2 < width / 2); }
};

inline __mmask32 mask_of(int left) { return left < WIDE ? (1u << left) - 1 : ~0u; }

inline __m512i loaded(const bf16* from, __mmask32 mask) { return _mm512_maskz_loadu_epi16(mask, from); }

// Of `v`, what `which` says is of the kth of four.
inline __m512i only(__m512i v, __m256i which, int k) {
    return _mm512_maskz_mov_epi16(_mm256_cmpeq_epi8_mask(which, _mm256_set1_epi8(char(k))), v);
}

// Sixteen rows of sixteen 32-bit values, turned about.
inline void turn(__m512i* r) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

// ---- forward, and the gradient of the input ------------------------------------------------------------------

// Filters (c_out, k, k, c_in) to [32 outputs][32 inputs][tap][2 tiles of (16 pairs of inputs, 16 outputs)]. For the
// gradient of the input, outputs and inputs change places and the taps are turned about.
void pack_filters(const float* w, int c_in, int c_out, int taps, bool gradient, bf16* to) {
    const int in = gradient ? c_out : c_in, out = gradient ? c_in : c_out;
    const int blocks = (in + WIDE - 1) / WIDE, panels = (out + WIDE - 1) / WIDE;
    // sixteen inputs from i on of filter o, there or not
    const auto some = [&](int o, int tap, int i) {
        const __mmask16 mask = o < c_out && i < c_in ? first(c_in - i) : 0;
        return _mm512_maskz_loadu_ps(mask, w + (size_t(o) * taps + tap) * c_in + i);
    };
#pragma omp parallel for collapse(2) schedule(static)
    for (int p = 0; p < panels; p++)
        for (int b = 0; b < blocks; b++)
            for (int t = 0; t < taps; t++)
                for (int h = 0; h < 2; h++) {
                    bf16* tile = to + ((size_t(p) * blocks + b) * taps + t) * BLOCK + h * TILE;
                    const int i = b * WIDE, o = p * WIDE + h * SIDE;
                    __m512i rows[SIDE];
                    for (int k = 0; k < SIDE; k++) {
                        if (gradient) {
                            const int tap = taps - 1 - t, from = i + 2 * k;
                            rows[k] = paired(some(from, tap, o), some(from + 1, tap, o));
                        } else {
                            rows[k] = (__m512i)_mm512_cvtne2ps_pbh(some(o + k, t, i + SIDE), some(o + k, t, i));
                        }
                    }
                    if (!gradient) turn(rows);
                    for (int k = 0; k < SIDE; k++) _mm512_store_si512(tile + k * WIDE, rows[k]);
                }
}

// Rows [begin, end) of thirty-two images to [32 channels][row % ring][column][32 images][32].
void pack_rows(const Source& x, const Shape& s, int first, int begin, int end, int ring, bf16* to) {
    const size_t block = size_t(ring) * s.width * BLOCK;
    for (int i = 0; i < IMAGES; i++)
        for (int r = begin; r < end; r++) {
            const bool there = first + i < s.images;
            const size_t from = (first + i) * x.image() + x.at(r, 0);
            bf16* at = to + size_t(r % ring) * s.width * BLOCK + i * WIDE;
            if (!x.which) {
                for (int c = 0; c < s.width; c++, at += BLOCK)
                    for (int b = 0; b < s.blocks(); b++) {
                        const __mmask32 mask = there ? mask_of(s.channels - b * WIDE) : 0;
                        const size_t k = from + size_t(c) * s.channels + b * WIDE;
                        _mm512_store_si512(at + b * block, loaded(x.x + k, mask));
                    }
                continue;
            }
            for (int c = 0; c < s.width; c += 2, at += 2 * BLOCK)
                for (int b = 0; b < s.blocks(); b++) {
                    const __mmask32 mask = there && x.has(r, c) ? mask_of(s.channels - b * WIDE) : 0;
                    const size_t k = from + size_t(c / 2) * s.channels + b * WIDE;
                    const __m512i v = loaded(x.x + k, mask);
                    const __m256i which = _mm256_maskz_loadu_epi8(mask, x.which + k);
                    _mm512_store_si512(at + b * block, only(v, which, r % 2 * 2));
                    if (c + 1 < s.width) _mm512_store_si512(at + b * block + BLOCK, only(v, which, r % 2 * 2 + 1));
                }
        }
}

// The results of a pixel, [32 images][32 outputs]: over 32 inputs, the sum over the taps that reach a pixel. BEGUN:
// they are added to what `to` has.
template <bool BEGUN>
void results(const Shape& s, int ring, const bf16* x, const bf16* filters, int r, int c, float* to) {
    const int row = WIDE * sizeof(float);
    if (BEGUN) {
        _tile_loadd(0, to, row);
        _tile_loadd(1, to + SIDE, row);
        _tile_loadd(2, to + SIDE * WIDE, row);
        _tile_loadd(3, to + SIDE * WIDE + SIDE, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    const int top = r - s.padding, left = c - s.padding;
    const int i_begin = std::max(0, -top), i_end = std::min(s.kernel, s.height - top);
    const int j_begin = std::max(0, -left), j_end = std::min(s.kernel, s.width - left);
    for (int i = i_begin; i < i_end; i++) {
        const bf16* a = x + (size_t((top + i) % ring) * s.width + left + j_begin) * BLOCK;
        const bf16* b = filters + size_t(i * s.kernel + j_begin) * BLOCK;
        for (int j = j_begin; j < j_end; j++, a += BLOCK, b += BLOCK) {
            _tile_loadd(4, a, 64);
            _tile_loadd(6, b, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + TILE, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a + TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, to, row);
    _tile_stored(1, to + SIDE, row);
    _tile_stored(2, to + SIDE * WIDE, row);
    _tile_stored(3, to + SIDE * WIDE + SIDE, row);
}

inline __m512i rounded(const float* from) {
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(from + SIDE), _mm512_load_ps(from));
}

// The largest of four results and which it was: the first of several; what is no number stays none.
inline void largest(const float* const* of, bf16* y, uint8_t* which, __mmask32 mask) {
    __m512 best[2];
    __m128i from[2];
    for (int h = 0; h < 2; h++) {
        best[h] = _mm512_load_ps(of[0] + h * SIDE);
        from[h] = _mm_setzero_si128();
        for (int k = 1; k < 4; k++) take_larger(_mm512_load_ps(of[k] + h * SIDE), k, best[h], from[h]);
    }
    _mm512_mask_storeu_epi16(y, mask, (__m512i)_mm512_cvtne2ps_pbh(best[1], best[0]));
    _mm256_mask_storeu_epi8(which, mask, _mm256_set_m128i(from[1], from[0]));
}

// 32 inputs at a time, whose filters stay in a first-level cache over all pixels.
void convolve(const Source& x, const Shape& s, const bf16* filters, int out, bf16* y, uint8_t* y_which) {
    const int side = y_which ? 2 : 1, blocks = s.blocks(), panels = (out + WIDE - 1) / WIDE;
    const int taps = s.kernel * s.kernel, out_h = s.out_h() / side, out_w = s.out_w() / side;  // of y
    constexpr size_t SUMS = IMAGES * WIDE;  // of a pixel
    // as many rows of results at a time as there is room for, and for the rows that they look at
    const size_t row = size_t(s.width) * blocks * BLOCK;
    const size_t bytes = side * (row * sizeof(bf16) + s.out_w() * SUMS * sizeof(float));
    const size_t around = row * (s.kernel - 1) * sizeof(bf16);
    const int fit = std::max<int>(1, (ROOM - std::min(ROOM, around)) / bytes);
    const int bands = (out_h + fit - 1) / fit, band = (out_h + bands - 1) / std::max(1, bands);
    const int ring = std::min(s.height, band * side + s.kernel - 1);  // rows that are kept
    const int jobs = s.groups() * bands;
    const size_t y_bytes = size_t(s.images) * out_h * out_w * out * sizeof(bf16);
    const bool past = y_bytes > LARGE && out % WIDE == 0 && size_t(y) % 64 == 0;
#pragma omp parallel
    {
        Configured tiles;
        bf16* packed = kept[1].of<bf16>(row * ring);
        float* sums = kept[2].of<float>(band * side * out_w * side * SUMS);
        int before = -1, packed_to = 0;  // the images of the last job, and which of their rows have been packed
#pragma omp for schedule(static)
        for (int job = 0; job < jobs; job++) {
            const int first = job / bands * IMAGES, count = std::min(IMAGES, s.images - first);
            const int begin = job % bands * band, end = std::min(out_h, begin + band);
            if (begin >= end) continue;
            const Rows rows(s, begin * side, end * side);
            const int from_row = first == before ? std::max(rows.begin, packed_to) : rows.begin;
            pack_rows(x, s, first, from_row, rows.end, ring, packed);
            before = first;
            packed_to = rows.end;
            for (int p = 0; p < panels; p++) {
                const __mmask32 mask = mask_of(out - p * WIDE);
                for (int b = 0; b < blocks; b++) {
                    const bf16* looked_at = packed + size_t(b) * ring * s.width * BLOCK;
                    const bf16* by = filters + (size_t(p) * blocks + b) * taps * BLOCK;
                    float* to = sums;
                    for (int r = begin; r < end; r++)
                        for (int c = 0; c < out_w; c++, to += blocks > 1 ? side * side * SUMS : 0) {
                            for (int k = 0; k < side * side; k++)
                                (b ? results<true> : results<false>)(s, ring, looked_at, by, r * side + k / 2,
                                                                     c * side + k % 2, to + k * SUMS);
                            if (b + 1 < blocks) continue;
                            size_t at = ((size_t(first) * out_h + r) * out_w + c) * out + p * WIDE;
                            for (int i = 0; i < count; i++, at += size_t(out_h) * out_w * out) {
                                const float* from = to + i * WIDE;
                                if (y_which) {
                                    const float* const of[4] = {from, from + SUMS, from + 2 * SUMS, from + 3 * SUMS};
                                    largest(of, y + at, y_which + at, mask);
                                } else if (past) {
                                    _mm512_stream_si512((__m512i*)(y + at), rounded(from));
                                } else {
                                    _mm512_mask_storeu_epi16(y + at, mask, rounded(from));
                                }
                            }
                        }
                }
            }
        }
        _mm_sfence();
    }
}

// ---- the gradient of the filters -----------------------------------------------------------------------------
//
// dw[tap][i][o] = sum over images and pixels of x[pixel + tap][i] * g[pixel][o]. What a product of tiles sums over is
// thirty-two images at the same pixel.

// A pixel's 32 channels are in two tiles by turns of four, as unpacking leaves them: of the channels of tile `h` the
// kth is this one.
constexpr int channel(int h, int k) { return k / 4 * 8 + h * 4 + k % 4; }

// 32 channels from k on of 32 images at a pixel to two tiles `apart`, of 16 channels each: (16 pairs of images,
// 16 channels), or TURNED, (16 channels, 32 images).
template <bool TURNED>
inline void pack_pixel(const Source& x, int images, int first, int r, int c, int k, bf16* to, size_t apart) {
    const __mmask32 mask = x.has(r, c) ? mask_of(x.channels - k) : 0;
    const size_t image = x.image(), from = first * image + x.at(r, c) + k;
    const bf16* at = x.x + from;
    const uint8_t* which = x.which ? x.which + from : nullptr;
    __m512i low[SIDE], high[SIDE];
    for (int i = 0; i < SIDE; i++) {
        const __mmask32 even = first + 2 * i < images ? mask : 0, odd = first + 2 * i + 1 < images ? mask : 0;
        __m512i a = loaded(at, even), b = loaded(at + image, odd);
        at += 2 * image;
        if (x.which) {
            a = only(a, _mm256_maskz_loadu_epi8(even, which), r % 2 * 2 + c % 2);
            b = only(b, _mm256_maskz_loadu_epi8(odd, which + image), r % 2 * 2 + c % 2);
            which += 2 * image;
        }
        low[i] = _mm512_unpacklo_epi16(a, b);
        high[i] = _mm512_unpackhi_epi16(a, b);
    }
    if (TURNED) {
        turn(low);
        turn(high);
    }
    for (int i = 0; i < SIDE; i++) {
        _mm512_store_si512(to + i * WIDE, low[i]);
        _mm512_store_si512(to + apart + i * WIDE, high[i]);
    }
}

// What is summed over: `groups` times 32 images, of each `rows` rows, whose tiles are so far apart.
struct Range {
    int groups, rows;
    size_t x_group, g_group, x_row, g_row;
};

// Adds a tap's products to four tiles `apart` in `to`: of 2 x 16 inputs by 2 x 16 outputs, over `columns` pixels of
// each row.
void add_tap(const Range& over, const bf16* x, const bf16* g, int columns, size_t x_apart, size_t g_apart, float* to,
             size_t apart) {
    _tile_loadd(0, to, 64);
    _tile_loadd(1, to + apart, 64);
    _tile_loadd(2, to + 2 * apart, 64);
    _tile_loadd(3, to + 3 * apart, 64);
    for (int n = 0; n < over.groups; n++)
        for (int r = 0; r < over.rows; r++) {
            const bf16 *a = x + n * over.x_group + r * over.x_row, *b = g + n * over.g_group + r * over.g_row;
            for (int c = 0; c < columns; c++, a += TILE, b += TILE) {
                _tile_loadd(4, a, 64);
                _tile_loadd(6, b, 64);
                _tile_dpbf16ps(0, 4, 6);
                _tile_loadd(7, b + g_apart, 64);
                _tile_dpbf16ps(1, 4, 7);
                _tile_loadd(5, a + x_apart, 64);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    _tile_stored(0, to, 64);
    _tile_stored(1, to + apart, 64);
    _tile_stored(2, to + 2 * apart, 64);
    _tile_stored(3, to + 3 * apart, 64);
}

// Adds to three tiles the products of a row of 3x3 filters, padded by one pixel: of 16 inputs by 16 outputs. Each
// pixel of x meets three of g, which stay in tiles for as long.
void add_three_taps(const Range& over, const bf16* x, const bf16* g, int columns, float* to) {
    _tile_loadd(0, to, 64);
    _tile_loadd(1, to + 256, 64);
    _tile_loadd(2, to + 512, 64);
    for (int n = 0; n < over.groups; n++)
        for (int r = 0; r < over.rows; r++) {
            const bf16 *a = x + n * over.x_group + r * over.x_row, *b = g + n * over.g_group + r * over.g_row;
            const bf16* const last = a + size_t(columns - 1) * TILE;
            _tile_loadd(4, b, 64);
            _tile_loadd(3, a, 64);
            _tile_dpbf16ps(1, 3, 4);
            if (a == last) continue;
            b += TILE;
            _tile_loadd(5, b, 64);
            _tile_dpbf16ps(0, 3, 5);
            a += TILE;
// the pixel at a, where tiles hold g's of before, of the same, and, if it is not the last, of after
#define PIXEL(BEFORE, SAME, AFTER)      \
    _tile_loadd(3, a, 64);              \
    _tile_dpbf16ps(1, 3, SAME);         \
    _tile_dpbf16ps(2, 3, BEFORE);       \
    if (a == last) break;               \
    b += TILE;                          \
    _tile_loadd(AFTER, b, 64);          \
    _tile_dpbf16ps(0, 3, AFTER);        \
    a += TILE;
            while (true) {
                PIXEL(4, 5, 6)
                PIXEL(5, 6, 4)
                PIXEL(6, 4, 5)
            }
#undef PIXEL
        }
    _tile_stored(0, to, 64);
    _tile_stored(1, to + 256, 64);
    _tile_stored(2, to + 512, 64);
}

void gradient(const Source& x, const Source& g, const Shape& s, float* dw) {
    const int out = g.channels, blocks = s.blocks(), panels = (out + WIDE - 1) / WIDE, taps = s.kernel * s.kernel;
    const int out_h = s.out_h(), out_w = s.out_w();
    const bool three = s.kernel == 3 && s.padding == 1;
    const size_t x_row = size_t(s.width) * TILE, g_row = size_t(out_w) * TILE;  // of 16 channels
    // as much at a time as there is room for: rows of results, or whole images
    const size_t bytes = 2 * sizeof(bf16) * (x_row * blocks + g_row);
    const size_t around = 2 * sizeof(bf16) * x_row * blocks * (s.kernel - 1);
    const int fit = std::max<int>(1, (ROOM - std::min(ROOM, around)) / bytes);
    const int bands = (out_h + fit - 1) / fit, band = (out_h + bands - 1) / std::max(1, bands);
    const int groups = bands > 1 ? 1 : std::max(1, fit / std::max(1, out_h));
    const int chunks = (s.groups() + groups - 1) / groups, jobs = chunks * bands;
    // tiles of 16 channels, and of sums [32 outputs][32 inputs][2 x 16 inputs][2 x 16 outputs][tap]
    const size_t x_apart = std::min(s.height, band + s.kernel - 1) * x_row * groups;
    const size_t g_apart = band * g_row * groups;
    const size_t apart = taps * 256, size = size_t(panels) * blocks * 4 * apart;
    const int threads = std::min(omp_get_max_threads(), std::max(1, jobs));
    float* parts[threads];
    int came = 1;
#pragma omp parallel num_threads(threads)
    {
        Configured tiles;
#pragma omp single
        came = omp_get_num_threads();
        float* sums = parts[omp_get_thread_num()] = kept[2].of<float>(size);
        std::memset(sums, 0, size * sizeof(float));
        bf16 *xs = kept[0].of<bf16>(2 * blocks * x_apart), *gs = kept[1].of<bf16>(2 * g_apart);
#pragma omp for schedule(static)
        for (int job = 0; job < jobs; job++) {
            const int chunk = job / bands * groups, count = std::min(groups, s.groups() - chunk);
            const int begin = job % bands * band, end = std::min(out_h, begin + band);
            if (begin >= end) continue;
            const Rows rows(s, begin, end);
            Range over{count, 0, rows.count() * x_row, (end - begin) * g_row, x_row, g_row};
            for (int n = 0; n < count; n++)
                for (int r = rows.begin; r < rows.end; r++)
                    for (int c = 0; c < s.width; c++)
                        for (int b = 0; b < blocks; b++)
                            pack_pixel<true>(x, s.images, (chunk + n) * IMAGES, r, c, b * WIDE,
                                             xs + 2 * b * x_apart + n * over.x_group + (r - rows.begin) * x_row
                                                 + size_t(c) * TILE,
                                             x_apart);
            for (int p = 0; p < panels; p++) {
                for (int n = 0; n < count; n++)
                    for (int r = begin; r < end; r++)
                        for (int c = 0; c < out_w; c++)
                            pack_pixel<false>(g, s.images, (chunk + n) * IMAGES, r, c, p * WIDE,
                                              gs + n * over.g_group + (r - begin) * g_row + size_t(c) * TILE,
                                              g_apart);
                for (int b = 0; b < blocks; b++) {
                    float* to = sums + (size_t(p) * blocks + b) * 4 * apart;
                    for (int i = 0; i < s.kernel; i++) {
                        const Span down(i, s.padding, s.height, out_h);
                        const int from = std::max(begin, down.begin), until = std::min(end, down.end);
                        if (from >= until) continue;
                        over.rows = until - from;
                        const bf16* a = xs + 2 * b * x_apart + (from + i - s.padding - rows.begin) * x_row;
                        const bf16* at = gs + (from - begin) * g_row;
                        if (three) {
                            for (int k = 0; k < 4; k++)
                                add_three_taps(over, a + k / 2 * x_apart, at + k % 2 * g_apart, out_w,
                                               to + k * apart + i * 3 * 256);
                            continue;
                        }
                        for (int j = 0; j < s.kernel; j++) {
                            const Span right(j, s.padding, s.width, out_w);
                            if (right.begin >= right.end) continue;
                            add_tap(over, a + (right.begin + j - s.padding) * TILE, at + right.begin * TILE,
                                    right.end - right.begin, x_apart, g_apart, to + (i * s.kernel + j) * 256, apart);
                        }
                    }
                }
            }
        }
        // tiles of every thread to (out, tap, in), the layout of a channels-last filter
        const auto total = [&](size_t at, __m512i* rows) {
            for (int r = 0; r < SIDE; r++, at += SIDE) {
                __m512 of_all = _mm512_load_ps(parts[0] + at);
                for (int part = 1; part < came; part++)
                    of_all = _mm512_add_ps(of_all, _mm512_load_ps(parts[part] + at));
                rows[r] = (__m512i)of_all;
            }
            turn(rows);
        };
#pragma omp for schedule(static) collapse(2)
        for (int p = 0; p < panels; p++)
            for (int b = 0; b < blocks; b++)
                for (int h = 0; h < 2; h++)
                    for (int t = 0; t < taps; t++) {
                        const size_t at = ((size_t(p) * blocks + b) * 4 + h) * apart + t * 256;
                        __m512i even[SIDE], odd[SIDE];  // by turns of four inputs
                        total(at, even);
                        total(at + 2 * apart, odd);
                        const int i = b * WIDE;
                        const __mmask32 mask = mask_of(s.channels - i);
                        for (int r = 0; r < SIDE; r++) {
                            const int o = p * WIDE + channel(h, r);
                            if (o >= out) continue;
                            float* to = dw + (size_t(o) * taps + t) * s.channels + i;
                            // their quarters by turns: 0 of even, 0 of odd, 1 of even, ...
                            __m512i low = _mm512_shuffle_i32x4(even[r], odd[r], _MM_SHUFFLE(1, 0, 1, 0));
                            __m512i high = _mm512_shuffle_i32x4(even[r], odd[r], _MM_SHUFFLE(3, 2, 3, 2));
                            low = _mm512_shuffle_i32x4(low, low, _MM_SHUFFLE(3, 1, 2, 0));
                            high = _mm512_shuffle_i32x4(high, high, _MM_SHUFFLE(3, 1, 2, 0));
                            _mm512_mask_storeu_epi32(to, mask, low);
                            _mm512_mask_storeu_epi32(to + SIDE, mask >> SIDE, high);
                        }
                    }
    }
}

}  // namespace

// Whether the system lets a process have the tiles' registers.
extern "C" int amx() {
    constexpr int REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM of Linux
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

// Convolutions by 3x3 filters, padded by one pixel: as winograd.cpp's, which say what they are given.
extern "C" void amx_convolution(const bf16* x, const uint8_t* x_which, const float* filters, bf16* y,
                                uint8_t* y_which, int images, int height, int width, int c_in, int c_out,
                                int gradient) {
    const int in = gradient ? c_out : c_in, out = gradient ? c_in : c_out;
    const size_t size = size_t((in + WIDE - 1) / WIDE) * ((out + WIDE - 1) / WIDE) * 9 * BLOCK;
    bf16* packed = kept[0].of<bf16>(size);
    pack_filters(filters, c_in, c_out, 9, gradient, packed);
    convolve({x, x_which, height, width, in}, {images, height, width, in, 3, 1}, packed, out, y, y_which);
}

extern "C" void amx_weight_gradient(const bf16* x, const bf16* g, const uint8_t* g_which, float* dw, int images,
                                        int height, int width, int c_in, int c_out) {
    gradient({x, nullptr, height, width, c_in}, {g, g_which, height, width, c_out},
             {images, height, width, c_in, 3, 1}, dw);
}

// By filters of any size: as cpu.cpp's weight_gradient.
extern "C" void amx_any_weight_gradient(const bf16* x, const bf16* g, float* dw, int images, int height, int width,
                                    int c_in, int c_out, int kernel, int padding) {
    const Shape s{images, height, width, c_in, kernel, padding};
    gradient({x, nullptr, height, width, c_in}, {g, nullptr, s.out_h(), s.out_w(), c_out}, s, dw);
}

#else

extern "C" int amx() { return 0; }
extern "C" void amx_convolution() {}
extern "C" void amx_weight_gradient() {}
extern "C" void amx_any_weight_gradient() {}

#endif
