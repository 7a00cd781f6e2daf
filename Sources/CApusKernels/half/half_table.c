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

apus_to_bits_fn apus_half_to_bits(const apus_half_kernels *kernels, bool from_f64, size_t bytes) {
  const apus_to_bits_fn *functions = from_f64 ? kernels->f64_to_bits : kernels->f32_to_bits;
  return bytes == 1 ? functions[0] : bytes == 2 ? functions[1] : bytes == 4 ? functions[2] : bytes == 8 ? functions[3] : NULL;
}
