#include "depthwise_tile.h"

#include "../f32/generic.h"
#include "../f32/epilogue.h"

#define DEPTHWISE_NAME generic
#define DEPTHWISE_PIXELS 4
#include "depthwise_body.h"
