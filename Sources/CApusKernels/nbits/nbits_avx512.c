#if defined(__x86_64__)
#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512

APUS_BEGIN_AVX512

APUS_INLINE vf spread(const float *p, size_t count, unsigned shift) {
  if (count == 1) return v_set1(*p);
  const vi lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_permutexvar_ps(_mm512_srl_epi32(lanes, _mm_cvtsi32_si128((int)shift)), _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p));
}

APUS_INLINE vi load_words(const uint8_t *p, size_t count) {
  return count == VW ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi32(v_first(count), p);
}

// A permutation looks up 16 floats by the low four bits of each lane: decoded and centred in one instruction.
APUS_INLINE vf decode(vi words, int bits, int j) {
  const vi shifted = _mm512_srli_epi32(words, (unsigned)(bits * j));
  if (bits == 4)
    return _mm512_permutexvar_ps(shifted, _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7));
  if (bits == 2)
    return _mm512_permutexvar_ps(shifted, _mm512_setr_ps(-2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1));
  return vi_to_float(vi_sub(vi_and(shifted, vi_set1(255)), vi_set1(128)));
}

#include "nbits_body.h"
APUS_END
#endif
