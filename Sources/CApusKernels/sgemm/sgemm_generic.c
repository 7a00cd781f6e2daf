#include "sgemm_tile.h"

#include "../simd/vec_quad.h"
#include "../simd/vec_tile.h"

#define SGEMM_NAME generic_6x8
#define SGEMM_MR 6
#define SGEMM_VECTORS 2
#define SGEMM_PANELS 4
#define SGEMM_STEPS 1
#include "sgemm_body.h"
