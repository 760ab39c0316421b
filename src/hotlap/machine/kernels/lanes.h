// Sixteen float32 at a time, and images kept in bfloat16.

#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

using bf16 = uint16_t;
using pair = uint32_t;  // two bfloat16 that are multiplied and summed together, the first in the lower half

inline __m512 widened(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline __m512 load(const bf16* from) { return widened(_mm256_loadu_si256((const __m256i*)from)); }

inline __m512 load(const bf16* from, __mmask16 mask) { return widened(_mm256_maskz_loadu_epi16(mask, from)); }

// Those of them whose `of` is `corner`, and 0 elsewhere.
inline __m512 load_only(const bf16* from, const uint8_t* of, int corner, __mmask16 mask) {
    return load(from, _mm_mask_cmpeq_epi8_mask(mask, _mm_maskz_loadu_epi8(mask, of), _mm_set1_epi8(char(corner))));
}

inline void store(bf16* to, __m512 v) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(v)); }

// The first `count` of sixteen, or all of them.
inline __mmask16 first(int count) { return count < 16 ? __mmask16((1u << count) - 1) : __mmask16(~0u); }

// Sixteen pairs of what is even and what is odd.
inline __m512i paired(__m256i even, __m256i odd) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                           23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1));
}

inline __m512i paired(__m512 even, __m512 odd) {
    return paired((__m256i)_mm512_cvtneps_pbh(even), (__m256i)_mm512_cvtneps_pbh(odd));
}

// Takes v, which is the kth, where it is larger than the best so far or is no number.
inline void take_larger(__m512 v, int k, __m512& best, __m128i& which) {
    const __mmask16 more = _mm512_cmp_ps_mask(v, best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    best = _mm512_mask_mov_ps(best, more, v);
    which = _mm_mask_mov_epi8(which, more, _mm_set1_epi8(char(k)));
}
