#include "pooling_table.h"

#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "../simd/vec_tile.h"

#define POOLING_NAME neon
#include "pooling_body.h"
#endif
