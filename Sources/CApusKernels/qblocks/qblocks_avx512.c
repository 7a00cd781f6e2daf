#if defined(__x86_64__)
#include "../simd/vec_avx512.h"
#include "qblocks_levels.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512
#define MR 6

APUS_BEGIN_AVX512
#include "qblocks_pairs.h"
APUS_END
#endif
