#include "pooling_table.h"

static const apus_pooling_kernel kernels[] = {
#define APUS_POOLING_KERNEL(NAME, ISA)                                                                                 \
  {#NAME, ISA, apus_max_pool_##NAME, apus_average_pool_##NAME, apus_sum_rows_##NAME},
#include "pooling.def"
#undef APUS_POOLING_KERNEL
};

size_t apus_pooling_kernel_count(void) { return sizeof kernels / sizeof *kernels; }

const apus_pooling_kernel *apus_pooling_kernel_at(size_t index) {
  return index < apus_pooling_kernel_count() ? &kernels[index] : NULL;
}

const apus_pooling_kernel *apus_pooling_select(uint32_t levels) {
  size_t i = 0;
  while (i + 1 < apus_pooling_kernel_count() && !(levels >> kernels[i].isa & 1)) i++;
  return &kernels[i];
}
