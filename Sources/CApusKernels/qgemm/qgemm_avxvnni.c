#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx2.h"
#include "qgemm_codes.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define MR 6
#define DPBUSD _mm256_dpbusd_avx_epi32

APUS_BEGIN_AVXVNNI

#include "qgemm_vnni.h"
APUS_END
#endif
