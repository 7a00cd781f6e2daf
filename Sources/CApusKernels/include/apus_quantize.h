// Linear quantisation and its inverse, and small helpers of quantised graphs.
//
// Common to all: n may be 0; input and output must not overlap unless said otherwise; unaligned is fine; nothing beyond n
// elements is touched; nothing is allocated; callable from any thread. All levels give the same bits.
#ifndef APUS_QUANTIZE_H
#define APUS_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// y[i] = saturate(round(x[i] / scale) + zero point): ONNX's QuantizeLinear. The division is a division, rounding is to
/// nearest with ties to even, and NaN gives `low` (as onnxruntime has it); infinities saturate.
///
/// Any element type of up to 16 bits: `low` and `high` are its bounds (u8: 0…255, s4: -8…7, …) and the low bits of the
/// result are stored, one element per 8- or 16-bit place.
typedef struct apus_quantize_args {
  size_t n;
  const float *x;
  const float *scale;        ///< one, or n of them (the last axis is the quantisation axis)
  const int32_t *zero_point; ///< as many as scales, or NULL for 0
  bool per_element;          ///< n scales and zero points rather than one
  int32_t low, high;
  void *y;
} apus_quantize_args;

typedef enum apus_integer_type {
  APUS_U8,
  APUS_S8,
  APUS_U16,
  APUS_S16,
  APUS_S32,
  APUS_INTEGER_TYPE_COUNT
} apus_integer_type;

/// y[i] = float(x[i] - zero point) * scale: ONNX's DequantizeLinear. The difference is taken modulo 2^32.
typedef struct apus_dequantize_args {
  size_t n;
  const void *x;
  const float *scale;        ///< one, or n of them
  const int32_t *zero_point; ///< as many as scales, or NULL for 0
  bool per_element;
  float *y;
} apus_dequantize_args;

typedef void (*apus_dequantize_fn)(const apus_dequantize_args *args);

/// y[i] = saturate(round(float(x[i] + bias[i]) * scale) + zero_point), in exactly these operations: the sum modulo 2^32,
/// conversion and product each rounded to float, ties to even throughout. NaN gives `low`. What apus_qgemm.h does to its
/// results, for sums that come from elsewhere.
typedef struct apus_requantize_args {
  size_t n;
  const int32_t *x;
  const int32_t *bias; ///< n of them, or NULL
  const float *scale;  ///< one, or n of them where `per_element`
  bool per_element;
  int32_t zero_point, low, high;
  uint8_t *y;          ///< the low 8 bits of each result
} apus_requantize_args;

typedef struct apus_quantize_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  void (*quantize8)(const apus_quantize_args *args);  ///< y: uint8_t or int8_t
  void (*quantize16)(const apus_quantize_args *args); ///< y: uint16_t or int16_t
  apus_dequantize_fn dequantize[APUS_INTEGER_TYPE_COUNT];
  void (*requantize)(const apus_requantize_args *args);

  /// The least and largest of n floats; NaN in both if any is NaN; +infinity and -infinity of none.
  void (*min_max)(size_t n, const float *x, float *least, float *largest);

  /// y[i] = table[x[i]]; table has 256 entries (index a signed element by its bit pattern). y may be x.
  void (*lookup)(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *y);

  /// n 4-bit elements, the first in the low bits of the first byte, to a byte each; sign-extended if `is_signed`.
  /// Reads (n + 1) / 2 bytes.
  void (*unpack4)(size_t n, const uint8_t *x, bool is_signed, uint8_t *y);
  /// n 2-bit elements, the first in the lowest bits, likewise. Reads (n + 3) / 4 bytes.
  void (*unpack2)(size_t n, const uint8_t *x, bool is_signed, uint8_t *y);
  /// The inverses: the low bits of n bytes, packed; bits beyond the last element are 0.
  void (*pack4)(size_t n, const uint8_t *x, uint8_t *y);
  void (*pack2)(size_t n, const uint8_t *x, uint8_t *y);
} apus_quantize_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_quantize_kernels *apus_quantize_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_quantize_kernels *apus_quantize_select(uint32_t levels);

/// The function for a type; NULL for a number that is none.
apus_dequantize_fn apus_quantize_dequantizer(const apus_quantize_kernels *kernels, apus_integer_type type);

#ifdef __cplusplus
}
#endif
#endif
