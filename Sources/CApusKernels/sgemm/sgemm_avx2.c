#include "sgemm_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx2.h"

APUS_BEGIN_AVX2
#include "../simd/vec_tile.h"

#define SGEMM_NAME avx2_6x16
#define SGEMM_MR 6
#define SGEMM_VECTORS 2
#define SGEMM_PANELS 4
#define SGEMM_STEPS 4
#include "sgemm_body.h"

APUS_END
#endif
