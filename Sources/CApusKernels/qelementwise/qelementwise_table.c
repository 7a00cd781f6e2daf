#include "../cpu/table.h"
#include "apus_qelementwise.h"

#define KERNELS(LEVEL) extern const apus_qelementwise_kernels apus_qelementwise_##LEVEL;
#include "qelementwise.def"
#undef KERNELS

static const apus_qelementwise_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_qelementwise_##LEVEL,
#include "qelementwise.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_qelementwise_kernels, apus_qelementwise, table)
