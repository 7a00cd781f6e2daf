#if defined(__x86_64__)
#include "../simd/vec_avx512.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI
#define MR 6
#define SHIFT(x, count) _mm512_srli_epi32(x, (unsigned)(count))

APUS_BEGIN_AVX512VNNI

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  (void)bits;
  return _mm512_dpbusd_epi32(sum, codes, a);
}

#include "qblocks_body.h"
APUS_END
#endif
