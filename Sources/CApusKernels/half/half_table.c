#include "../cpu/table.h"
#include "apus_half.h"

#define KERNELS(LEVEL) extern const apus_half_kernels apus_half_##LEVEL;
#include "half.def"
#undef KERNELS

static const apus_half_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_half_##LEVEL,
#include "half.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_half_kernels, apus_half, table)

apus_to_f32_fn apus_half_to_f32(const apus_half_kernels *kernels, apus_small_float format) {
  return (unsigned)format < APUS_SMALL_FLOAT_COUNT ? kernels->to_f32[format] : NULL;
}

apus_from_f32_fn apus_half_from_f32(const apus_half_kernels *kernels, apus_small_float format) {
  return (unsigned)format < APUS_SMALL_FLOAT_COUNT ? kernels->from_f32[format] : NULL;
}
