#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "../cpu/target.h"

#define APUS_LEVEL avx512
#define APUS_HALF_WIDE
#define APUS_LEVEL_ISA APUS_ISA_AVX512

APUS_BEGIN_AVX512
#include "half_body.h"
APUS_END
#endif
