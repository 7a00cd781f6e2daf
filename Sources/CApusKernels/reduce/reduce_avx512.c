#if defined(__x86_64__)
#include "../cpu/target.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512
#define REDUCE_WAYS 4

APUS_BEGIN_AVX512
#include "reduce_body.h"
APUS_END
#endif
