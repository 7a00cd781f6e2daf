#include <string.h>

#include "../cpu/target.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC

#include "half_body.h"
