#include "sgemm_tile.h"

#include "../f32/generic.h"
#include "../f32/epilogue.h"

#define SGEMM_NAME generic_6x8
#define SGEMM_MR 6
#define SGEMM_VECTORS 2
#include "sgemm_body.h"
