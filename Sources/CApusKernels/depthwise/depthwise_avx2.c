#include "depthwise_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx2.h"

APUS_BEGIN_AVX2
#include "../simd/vec_tile.h"

#define DEPTHWISE_NAME avx2
#define DEPTHWISE_PIXELS 4
#include "depthwise_body.h"

APUS_END
#endif
