#include "depthwise_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx512.h"

APUS_BEGIN_AVX512
#include "../simd/vec_tile.h"

#define DEPTHWISE_NAME avx512
#define DEPTHWISE_PIXELS 8
#include "depthwise_body.h"

APUS_END
#endif
