#include "../cpu/table.h"
#include "apus_rowproduct.h"

#define KERNELS(LEVEL) extern const apus_rowproduct_kernels apus_rowproduct_##LEVEL;
#include "rowproduct.def"
#undef KERNELS

static const apus_rowproduct_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_rowproduct_##LEVEL,
#include "rowproduct.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_rowproduct_kernels, apus_rowproduct, table)
