#if defined(__x86_64__)
#include <immintrin.h>

#include "../cpu/target.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512
#define LANES 16
#define VECTORS 1
#define ROWS 8
#include "qwinograd_types.h"

APUS_BEGIN_AVX512

APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  return sum + (lanes)_mm512_madd_epi16((__m512i)a, (__m512i)b);
}

#include "qwinograd_body.h"
APUS_END
#endif
