#include "sgemm_tile.h"

#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "../simd/vec_tile.h"

#define SGEMM_NAME neon_6x16
#define SGEMM_MR 6
#define SGEMM_VECTORS 4
#define SGEMM_PANELS 2
#define SGEMM_STEPS 1
#include "sgemm_body.h"
#endif
