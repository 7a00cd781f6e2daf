#if defined(__x86_64__)
#include "../simd/vec_avx2.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2
#define MR 4

APUS_BEGIN_AVX2
#include "qblocks_pairs.h"
APUS_END
#endif
