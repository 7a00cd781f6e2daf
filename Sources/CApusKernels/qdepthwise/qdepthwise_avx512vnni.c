#if defined(__x86_64__)
#include <stdbool.h>
#include <string.h>

#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI

APUS_BEGIN_AVX512VNNI

#define DOTS
#define DOT_WIDE
#define DPBUSD256 _mm256_dpbusd_epi32
#define DPBUSD128 _mm_dpbusd_epi32

#include "qdepthwise_body.h"
APUS_END
#endif
