#if defined(__aarch64__)
#include "../cpu/target.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON
#define REDUCE_WAYS 2

#include "reduce_body.h"
#endif
