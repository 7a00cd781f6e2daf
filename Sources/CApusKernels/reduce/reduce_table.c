#include "../cpu/table.h"
#include "apus_reduce.h"

#define KERNELS(LEVEL) extern const apus_reduce_kernels apus_reduce_##LEVEL;
#include "reduce.def"
#undef KERNELS

static const apus_reduce_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_reduce_##LEVEL,
#include "reduce.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_reduce_kernels, apus_reduce, table)

apus_reduce_row_fn apus_reduce_row(const apus_reduce_kernels *kernels, apus_reduce_op op) {
  return (unsigned)op < APUS_REDUCE_COUNT ? kernels->row[op] : NULL;
}

apus_reduce_columns_fn apus_reduce_columns(const apus_reduce_kernels *kernels, apus_reduce_op op) {
  return (unsigned)op < APUS_REDUCE_COUNT ? kernels->columns[op] : NULL;
}
