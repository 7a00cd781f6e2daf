#include "depthwise_tile.h"

#include "../simd/vec_quad.h"
#include "../simd/vec_tile.h"

#define DEPTHWISE_NAME generic
#define DEPTHWISE_PIXELS 4
#include "depthwise_body.h"
