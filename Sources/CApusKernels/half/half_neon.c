#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#include "../cpu/target.h"

#define APUS_LEVEL neon
#define APUS_HALF_NEON
#define APUS_LEVEL_ISA APUS_ISA_NEON

#include "half_body.h"
#endif
