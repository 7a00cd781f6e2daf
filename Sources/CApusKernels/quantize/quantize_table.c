#include "../cpu/table.h"
#include "apus_quantize.h"

#define KERNELS(LEVEL) extern const apus_quantize_kernels apus_quantize_##LEVEL;
#include "quantize.def"
#undef KERNELS

static const apus_quantize_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_quantize_##LEVEL,
#include "quantize.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_quantize_kernels, apus_quantize, table)

apus_dequantize_fn apus_quantize_dequantizer(const apus_quantize_kernels *kernels, apus_integer_type type) {
  return (unsigned)type < APUS_INTEGER_TYPE_COUNT ? kernels->dequantize[type] : NULL;
}
