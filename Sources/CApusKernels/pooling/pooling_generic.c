#include "pooling_table.h"

#include "../simd/vec_quad.h"
#include "../simd/vec_tile.h"

#define POOLING_NAME generic
#include "pooling_body.h"
