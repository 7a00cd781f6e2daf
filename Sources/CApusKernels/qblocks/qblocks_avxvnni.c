#if defined(__x86_64__)
#include "../simd/vec_avx2.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define MR 4
#define SHIFT(x, count) _mm256_srli_epi32(x, (unsigned)(count))

APUS_BEGIN_AVXVNNI

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  (void)bits;
  return _mm256_dpbusd_avx_epi32(sum, codes, a);
}

#include "qblocks_body.h"
APUS_END
#endif
