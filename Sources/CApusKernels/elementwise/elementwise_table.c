#include "../cpu/table.h"
#include "apus_elementwise.h"

#define KERNELS(LEVEL) extern const apus_elementwise_kernels apus_elementwise_##LEVEL;
#include "elementwise.def"
#undef KERNELS

static const apus_elementwise_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_elementwise_##LEVEL,
#include "elementwise.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_elementwise_kernels, apus_elementwise, table)

apus_unary_fn apus_elementwise_unary(const apus_elementwise_kernels *kernels, apus_unary_op op) {
  return (unsigned)op < APUS_UNARY_COUNT ? kernels->unary[op] : NULL;
}

apus_row_function apus_elementwise_row(const apus_elementwise_kernels *kernels, apus_unary_op op) {
  return (unsigned)op < APUS_UNARY_COUNT ? kernels->row[op] : NULL;
}

apus_double_fn apus_elementwise_double(const apus_elementwise_kernels *kernels, apus_unary_op op) {
  return (unsigned)op < APUS_UNARY_COUNT ? kernels->doubles[op] : NULL;
}

apus_binary_fn apus_elementwise_binary(const apus_elementwise_kernels *kernels, apus_binary_op op, apus_binary_form form) {
  if ((unsigned)op >= APUS_BINARY_COUNT || (unsigned)form >= APUS_BINARY_FORM_COUNT) return NULL;
  return kernels->binary[op][form];
}

apus_integer_fn apus_elementwise_integer(const apus_elementwise_kernels *kernels, apus_integer_op op,
                                         apus_binary_form form, size_t bytes) {
  if ((unsigned)op >= APUS_INTEGER_COUNT || (unsigned)form >= APUS_BINARY_FORM_COUNT) return NULL;
  return bytes == 4 ? kernels->integer32[op][form] : bytes == 8 ? kernels->integer64[op][form] : NULL;
}

apus_blend_fn apus_elementwise_blend(const apus_elementwise_kernels *kernels, size_t bytes) {
  switch (bytes) {
  case 1: return kernels->blend[0];
  case 2: return kernels->blend[1];
  case 4: return kernels->blend[2];
  case 8: return kernels->blend[3];
  default: return NULL;
  }
}

int apus_unary_param_count(apus_unary_op op) {
  switch (op) {
#define UNARY(NAME, ENUMERATOR, PARAMS) case APUS_UNARY_##ENUMERATOR: return PARAMS;
#include "unary.def"
#undef UNARY
  default: return -1;
  }
}

const char *apus_unary_name(apus_unary_op op) {
  switch (op) {
#define UNARY(NAME, ENUMERATOR, PARAMS) case APUS_UNARY_##ENUMERATOR: return #NAME;
#include "unary.def"
#undef UNARY
  default: return NULL;
  }
}

const char *apus_binary_name(apus_binary_op op) {
  static const char *const names[APUS_BINARY_COUNT] = {"add", "sub", "mul", "div", "min", "max", "pow", "prelu"};
  return (unsigned)op < APUS_BINARY_COUNT ? names[op] : NULL;
}
