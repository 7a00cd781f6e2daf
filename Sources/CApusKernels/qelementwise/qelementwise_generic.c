#include "../simd/vec_generic.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC

#include "qelementwise_body.h"
