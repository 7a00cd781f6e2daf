#include "pooling_table.h"

#if defined(__x86_64__)
#include "../simd/vec_avx2.h"

APUS_BEGIN_AVX2
#include "../simd/vec_tile.h"

#define POOLING_NAME avx2
#include "pooling_body.h"

APUS_END
#endif
