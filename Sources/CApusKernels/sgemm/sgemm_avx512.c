#include "sgemm_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx512.h"

APUS_BEGIN_AVX512
#include "../simd/vec_tile.h"

#define SGEMM_NAME avx512_6x64
#define SGEMM_MR 6
#define SGEMM_VECTORS 4
#define SGEMM_PANELS 2
#define SGEMM_STEPS 1
#include "sgemm_body.h"

APUS_END
#endif
