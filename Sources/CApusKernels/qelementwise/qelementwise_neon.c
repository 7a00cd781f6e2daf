#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON

#include "qelementwise_body.h"
#endif
