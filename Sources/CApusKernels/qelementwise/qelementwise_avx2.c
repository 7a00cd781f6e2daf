#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx2.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2

APUS_BEGIN_AVX2
#include "qelementwise_body.h"
APUS_END
#endif
