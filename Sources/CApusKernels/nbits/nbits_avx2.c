#if defined(__x86_64__)
#include "../simd/vec_avx2.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2

APUS_BEGIN_AVX2

APUS_INLINE vf spread(const float *p, size_t count, unsigned shift) {
  if (count == 1) return v_set1(*p);
  const vi index = _mm256_srlv_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)shift));
  return _mm256_permutevar8x32_ps(count == VW ? v_load(p) : v_load_n(p, count), index);
}

APUS_INLINE vi load_words(const uint8_t *p, size_t count) {
  if (count == VW) return _mm256_loadu_si256((const __m256i *)p);
  return v_bits(v_load_n((const float *)(const void *)p, count));
}

APUS_INLINE vf decode(vi words, int bits, int j) {
  const vi code = vi_and(_mm256_srli_epi32(words, bits * j), vi_set1((1 << bits) - 1));
  return vi_to_float(vi_sub(code, vi_set1(1 << (bits - 1))));
}

#include "nbits_body.h"
APUS_END
#endif
