#include "winograd_tile.h"

#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "../simd/vec_tile.h"

#define WINOGRAD_LEVEL neon
#include "winograd_body.h"
#endif
