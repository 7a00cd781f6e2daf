#if defined(__x86_64__)
#include <stdbool.h>
#include <string.h>

#include "../simd/vec_avx2.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI

APUS_BEGIN_AVXVNNI

#define DOTS
#define DPBUSD256 _mm256_dpbusd_avx_epi32
#define DPBUSD128 _mm_dpbusd_avx_epi32

#include "qdepthwise_body.h"
APUS_END
#endif
