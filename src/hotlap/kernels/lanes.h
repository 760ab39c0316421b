// Sixteen float32 at a time, and images kept in bfloat16.

#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

using bf16 = uint16_t;
using pair = uint32_t;  // two bfloat16 that are multiplied and summed together, the first in the lower half

inline __m512 all(float v) { return _mm512_set1_ps(v); }

inline __m512 widened(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline __m512 load(const bf16* from) { return widened(_mm256_loadu_si256((const __m256i*)from)); }

inline __m512 load(const bf16* from, __mmask16 mask) { return widened(_mm256_maskz_loadu_epi16(mask, from)); }

inline void store(bf16* to, __m512 v) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(v)); }

// The first `count` of sixteen, or all of them.
inline __mmask16 first(int count) { return count < 16 ? __mmask16((1u << count) - 1) : __mmask16(~0u); }
