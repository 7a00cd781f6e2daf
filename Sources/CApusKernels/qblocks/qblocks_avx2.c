#if defined(__x86_64__)
#include "../simd/vec_avx2.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2
#define MR 4
#define SHIFT(x, count) _mm256_srli_epi32(x, (unsigned)(count))

APUS_BEGIN_AVX2

// Pairs of products fit 16 bits where codes have at most 7 bits; codes of 8 are taken in halves.
APUS_INLINE vi products(vi codes, vi a, short factor) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, a), _mm256_set1_epi16(factor));
}

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  if (bits < 8) return vi_add(sum, products(codes, a, 1));
  const vi mask = vi_set1(0x0f0f0f0f);
  return vi_add(sum, vi_add(products(vi_and(codes, mask), a, 1), products(vi_and(SHIFT(codes, 4), mask), a, 16)));
}

#include "qblocks_body.h"
APUS_END
#endif
