#if defined(__x86_64__)
#include "../simd/vec_avx512.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI
#define MR 6
#define DPBUSD _mm512_dpbusd_epi32

APUS_BEGIN_AVX512VNNI
#include "qblocks_vnni.h"
APUS_END
#endif
