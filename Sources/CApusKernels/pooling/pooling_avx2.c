#include "pooling_table.h"

#if defined(__x86_64__)
#include "../f32/avx2.h"

#define POOLING_NAME avx2
#include "pooling_body.h"

#include "../f32/end.h"
#endif
