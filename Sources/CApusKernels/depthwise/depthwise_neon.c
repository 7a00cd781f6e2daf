#include "depthwise_tile.h"

#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "../simd/vec_tile.h"

#define DEPTHWISE_NAME neon
#define DEPTHWISE_PIXELS 8
#include "depthwise_body.h"
#endif
