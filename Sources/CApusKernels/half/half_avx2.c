#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "../cpu/target.h"

#define APUS_LEVEL avx2
#define APUS_HALF_F16C
#define APUS_LEVEL_ISA APUS_ISA_AVX2

APUS_BEGIN_AVX2
#include "half_body.h"
APUS_END
#endif
