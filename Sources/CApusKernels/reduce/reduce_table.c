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

apus_reduce_runs_fn apus_reduce_runs(const apus_reduce_kernels *kernels, apus_reduce_op op, apus_number number) {
  return (unsigned)op < APUS_REDUCE_COUNT && (unsigned)number < APUS_NUMBER_COUNT ? kernels->runs[op][number] : NULL;
}

apus_reduce_columns_fn apus_reduce_columns(const apus_reduce_kernels *kernels, apus_reduce_op op, apus_number number) {
  return (unsigned)op < APUS_REDUCE_COUNT && (unsigned)number < APUS_NUMBER_COUNT ? kernels->columns[op][number] : NULL;
}

apus_find_fn apus_reduce_find(const apus_reduce_kernels *kernels, apus_number number) {
  return (unsigned)number < APUS_NUMBER_COUNT ? kernels->find[number] : NULL;
}
