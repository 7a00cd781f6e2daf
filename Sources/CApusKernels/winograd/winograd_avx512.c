#include "winograd_tile.h"

#if defined(__x86_64__)
#include "../simd/vec_avx512.h"

APUS_BEGIN_AVX512
#include "../simd/vec_tile.h"

#define WINOGRAD_LEVEL avx512
#include "winograd_body.h"

APUS_END
#endif
