#if defined(__x86_64__)
#include "../simd/vec_avx2.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define MR 4
#define DPBUSD _mm256_dpbusd_avx_epi32

APUS_BEGIN_AVXVNNI
#include "qblocks_vnni.h"
APUS_END
#endif
