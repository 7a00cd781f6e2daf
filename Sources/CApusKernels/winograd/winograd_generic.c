#include "winograd_tile.h"

#include "../simd/vec_quad.h"
#include "../simd/vec_tile.h"

#define WINOGRAD_LEVEL generic
#include "winograd_body.h"
