#if defined(__x86_64__)
#include "../cpu/target.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2
#define REDUCE_WAYS 2

APUS_BEGIN_AVX2
#include "reduce_body.h"
APUS_END
#endif
