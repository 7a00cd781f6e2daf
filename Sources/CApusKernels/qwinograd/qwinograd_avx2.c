#if defined(__x86_64__)
#include <immintrin.h>

#include "../cpu/target.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2
#define LANES 8
#define VECTORS 1
#define ROWS 8
#include "qwinograd_types.h"

APUS_BEGIN_AVX2

APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  return sum + (lanes)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

#include "qwinograd_body.h"
APUS_END
#endif
