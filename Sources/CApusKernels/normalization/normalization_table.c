#include "../cpu/table.h"
#include "apus_normalization.h"

#define KERNELS(LEVEL) extern const apus_normalization_kernels apus_normalization_##LEVEL;
#include "normalization.def"
#undef KERNELS

static const apus_normalization_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_normalization_##LEVEL,
#include "normalization.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_normalization_kernels, apus_normalization, table)
