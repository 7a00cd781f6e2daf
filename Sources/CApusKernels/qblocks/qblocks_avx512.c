#if defined(__x86_64__)
#include "../simd/vec_avx512.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512
#define MR 6
#define SHIFT(x, count) _mm512_srli_epi32(x, (unsigned)(count))

APUS_BEGIN_AVX512

// Pairs of products fit 16 bits where codes have at most 7 bits; codes of 8 are taken in halves.
APUS_INLINE vi products(vi codes, vi a, short factor) {
  return _mm512_madd_epi16(_mm512_maddubs_epi16(codes, a), _mm512_set1_epi16(factor));
}

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  if (bits < 8) return vi_add(sum, products(codes, a, 1));
  const vi mask = vi_set1(0x0f0f0f0f);
  return vi_add(sum, vi_add(products(vi_and(codes, mask), a, 1), products(vi_and(SHIFT(codes, 4), mask), a, 16)));
}

#include "qblocks_body.h"
APUS_END
#endif
