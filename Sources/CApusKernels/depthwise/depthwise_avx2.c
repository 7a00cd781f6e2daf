#include "depthwise_tile.h"

#if defined(__x86_64__)
#include "../f32/avx2.h"
#include "../f32/epilogue.h"

#define DEPTHWISE_NAME avx2
#define DEPTHWISE_PIXELS 4
#include "depthwise_body.h"

#include "../f32/end.h"
#endif
