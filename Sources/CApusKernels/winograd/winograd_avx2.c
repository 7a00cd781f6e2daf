#include "winograd_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx2.h"

APUS_BEGIN_AVX2
#include "../simd/vec_tile.h"

#define WINOGRAD_LEVEL avx2
#include "winograd_body.h"

APUS_END
#endif
