// Float32 in the compiler's own vectors, as many at a time as the processor's registers hold.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t whole __attribute__((vector_size(4 * LANES)));  // as a mask, -1 is true
typedef uint8_t small __attribute__((vector_size(LANES)));

inline lanes all(float v) { return v - lanes{}; }

inline lanes load(const float* from) {
    lanes v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void store(float* to, lanes v) { std::memcpy(to, &v, sizeof v); }

// The first `count` values, fewer than LANES, in powers of two: a copy of any length would be a call.
template <int PIECE = LANES / 2, class To, class From>
inline void copy_some(To* to, const From* from, int count) {
    static_assert(sizeof(To) == sizeof(From));
    if (count & PIECE) {
        std::memcpy(to, from, sizeof(To) * PIECE);
        to += PIECE, from += PIECE;
    }
    if constexpr (PIECE > 1) copy_some<PIECE / 2>(to, from, count);
}

inline lanes load(const float* from, int count) {
    if (count >= LANES) return load(from);
    lanes v = {};
    copy_some((float*)&v, from, count);
    return v;
}

struct All {};  // in place of a count

inline lanes load(const float* from, All) { return load(from); }

inline void store(float* to, lanes v, int count) {
    if (count >= LANES) return store(to, v);
    copy_some(to, (const float*)&v, count);
}

inline whole load_small(const uint8_t* from, int count = LANES) {
    small v = {};
    if (count >= LANES)
        std::memcpy(&v, from, sizeof v);
    else
        copy_some((uint8_t*)&v, from, count);
    return __builtin_convertvector(v, whole);
}

inline void store_small(uint8_t* to, whole v, int count = LANES) {
    const small narrow = __builtin_convertvector(v, small);
    if (count >= LANES)
        std::memcpy(to, &narrow, sizeof narrow);
    else
        copy_some(to, (const uint8_t*)&narrow, count);
}

// v where the mask is true, and 0 elsewhere.
inline lanes only(whole mask, lanes v) { return (lanes)((whole)v & mask); }

// Those of them whose `of` is `corner`, and 0 elsewhere.
inline lanes load_only(const float* from, const uint8_t* of, int corner, int count) {
    return only(load_small(of, count) == corner, load(from, count));
}

inline lanes load_only(const float* from, const uint8_t* of, int corner, All) {
    return only(load_small(of) == corner, load(from));
}

// The larger and the smaller of two, b if one is no number; and 1 / v to about 2e-7 of itself, or nearly, to 2^-14
// with AVX512. v and the result are normal numbers. Compilers take a comparison and a choice for the first, and the
// processor long for a division.
#if defined(__AVX512F__)
inline lanes larger(lanes a, lanes b) { return (lanes)_mm512_max_ps((__m512)a, (__m512)b); }
inline lanes smaller(lanes a, lanes b) { return (lanes)_mm512_min_ps((__m512)a, (__m512)b); }
inline lanes nearly_reciprocal(lanes v) { return (lanes)_mm512_rcp14_ps((__m512)v); }
#elif defined(__AVX__)
inline lanes larger(lanes a, lanes b) { return (lanes)_mm256_max_ps((__m256)a, (__m256)b); }
inline lanes smaller(lanes a, lanes b) { return (lanes)_mm256_min_ps((__m256)a, (__m256)b); }
inline lanes nearly_reciprocal(lanes v) { return (lanes)_mm256_rcp_ps((__m256)v); }
#else
inline lanes larger(lanes a, lanes b) { return a > b ? a : b; }
inline lanes smaller(lanes a, lanes b) { return a < b ? a : b; }
inline lanes nearly_reciprocal(lanes v) { return 1.0f / v; }
#endif

inline lanes reciprocal(lanes v) {
    const lanes near = nearly_reciprocal(v);
    return near * (2.0f - v * near);
}

// Takes v, which is the kth, where it is larger than the best so far or is no number.
inline void take_larger(lanes v, int k, lanes& best, whole& which) {
    const whole own = whole{} + k;
    which = v > best ? own : which;
    which = v != v ? own : which;
    best = v > best ? v : best;
    best = v != v ? v : best;
}

// e^v to about 1e-7 of itself, v at most 88: v = n ln 2 + f, and e^f by its series
inline lanes exponential(lanes v) {
    v = larger(v, all(-87.0f));  // also keeps the result from becoming denormal
    const lanes shifted = v * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: n is in the lowest bits
    const lanes n = shifted - 12582912.0f;
    const lanes f = (v - n * 0.693359375f) + n * 2.12194440e-4f;
    lanes e = all(1.0f / 720);
    for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) e = e * f + c;
    return (lanes)((whole)e + ((whole)shifted << 23));
}

// The same to about 1e-5, which is plenty for what is kept in bfloat16, in fewer operations where the processor
// has the power of two: 2^n 2^f, 2^f by the polynomial whose largest relative error is least.
inline lanes nearly_exponential(lanes v) {
#ifdef __AVX512F__
    const lanes t = larger(v * 1.44269504f, all(-126.0f));
    const lanes n = (lanes)_mm512_roundscale_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const lanes f = t - n;
    lanes e = all(0.00957010188f);
    for (float c : {0.0559178618f, 0.240247448f, 0.693121815f, 0.999999261f}) e = e * f + c;
    return (lanes)_mm512_scalef_ps((__m512)e, (__m512)n);
#else
    return exponential(v);
#endif
}
