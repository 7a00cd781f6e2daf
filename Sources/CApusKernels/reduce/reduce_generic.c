#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC
#define REDUCE_WAYS 1

#include "reduce_body.h"
