#include "sgemm_tile.h"

static const apus_sgemm_kernel kernels[] = {
#define APUS_SGEMM_KERNEL(NAME, ISA, MR, NR, LANES, K_BLOCK) {#NAME, ISA, MR, NR, LANES, K_BLOCK, &apus_sgemm_ops_##NAME},
#include "sgemm.def"
#undef APUS_SGEMM_KERNEL
};

size_t apus_sgemm_kernel_count(void) { return sizeof kernels / sizeof *kernels; }

const apus_sgemm_kernel *apus_sgemm_kernel_at(size_t index) {
  return index < apus_sgemm_kernel_count() ? &kernels[index] : NULL;
}

const apus_sgemm_kernel *apus_sgemm_select(uint32_t levels) {
  size_t i = 0;
  while (i + 1 < apus_sgemm_kernel_count() && !(levels >> kernels[i].isa & 1)) i++;
  return &kernels[i];
}
