#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512

APUS_BEGIN_AVX512
#include "qelementwise_body.h"
APUS_END
#endif
