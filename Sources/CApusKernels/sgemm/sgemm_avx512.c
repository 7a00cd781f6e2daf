#include "sgemm_tile.h"

#if defined(__x86_64__)
#include "../f32/avx512.h"
#include "../f32/epilogue.h"

#define SGEMM_NAME avx512_12x32
#define SGEMM_MR 12
#define SGEMM_VECTORS 2
#include "sgemm_body.h"

#include "../f32/end.h"
#endif
