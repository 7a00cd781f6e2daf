#include "depthwise_tile.h"

#if defined(__x86_64__)
#include "../f32/avx512.h"
#include "../f32/epilogue.h"

#define DEPTHWISE_NAME avx512
#define DEPTHWISE_PIXELS 8
#include "depthwise_body.h"

#include "../f32/end.h"
#endif
