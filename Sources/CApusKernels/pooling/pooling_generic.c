#include "pooling_table.h"

#include "../f32/generic.h"

#define POOLING_NAME generic
#include "pooling_body.h"
