#include "../cpu/table.h"
#include "apus_softmax.h"

#define KERNELS(LEVEL) extern const apus_softmax_kernels apus_softmax_##LEVEL;
#include "softmax.def"
#undef KERNELS

static const apus_softmax_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_softmax_##LEVEL,
#include "softmax.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_softmax_kernels, apus_softmax, table)
