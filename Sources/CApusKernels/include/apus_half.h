// Conversions between f32 and the narrower floating-point formats, between f32 and f64, and from these to integers.
#ifndef APUS_HALF_H
#define APUS_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The formats narrower than f32. An element takes two bytes (f16, bf16) or one; 4- and 6-bit codes stand in the low
/// bits of a byte each (apus_quantize.h unpacks and packs 4-bit ones), the upper bits being ignored on input and 0 on
/// output.
typedef enum apus_small_float {
  APUS_F16,
  APUS_BF16,
  APUS_F8E4M3FN,
  APUS_F8E4M3FNUZ,
  APUS_F8E5M2,
  APUS_F8E5M2FNUZ,
  APUS_F8E8M0,
  APUS_F6E2M3,
  APUS_F6E3M2,
  APUS_F4E2M1,
  APUS_SMALL_FLOAT_COUNT
} apus_small_float;

/// y[i] = x[i], exactly. NaN stays NaN.
typedef void (*apus_to_f32_fn)(size_t n, const void *x, float *y);

/// y[i] = x[i] rounded to nearest, ties to even, denormal results included.
///
/// f16, bf16: overflow gives infinity, NaN stays NaN (quiet, sign and upper payload bits kept); `saturate` is ignored.
/// float8 with E4M3 and E5M2: NaN stays NaN; with `saturate`, infinities and results beyond the largest number become
/// that number with their sign; without, they become NaN, or infinity for E5M2 (ONNX Cast). The FNUZ formats have one NaN
/// and no -0: -0, and negative numbers rounded to 0, give 0.
/// float8 E8M0 (powers of two, no sign, no zero): as apus_e8m0_fn with rounding up.
/// 4 and 6 bits: no infinity and no NaN; too large numbers always become the largest; NaN gives -0, negative NaN 0 (as the
/// ml_dtypes package does).
typedef void (*apus_from_f32_fn)(size_t n, const float *x, void *y, bool saturate);

typedef enum apus_e8m0_rounding { APUS_E8M0_UP, APUS_E8M0_DOWN, APUS_E8M0_NEAREST } apus_e8m0_rounding;

/// The exponent of |x| as an E8M0 code (c stands for 2^(c - 127), 255 for NaN), rounded to a power of two: up, down, or to the
/// nearest with ties up. Zero and numbers below 2^-127 give code 0. Infinity and overflow give 254 with `saturate`, else
/// 255. The sign is ignored (ONNX leaves it undefined). NaN gives 255.
typedef void (*apus_e8m0_fn)(size_t n, const float *x, uint8_t *y, bool saturate, apus_e8m0_rounding rounding);

/// y[i] = the low bits of x[i], truncated towards zero to an int32_t (to an int64_t for results of 8 bytes), whose least number
/// stands for what does not fit and for NaN.
typedef void (*apus_to_bits_fn)(size_t n, const void *x, void *y);

/// Common to all: n may be 0; x and y must not overlap; unaligned is fine; nothing beyond n elements is touched; nothing is
/// allocated; callable from any thread. All levels give the same bits.
typedef struct apus_half_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  apus_to_f32_fn to_f32[APUS_SMALL_FLOAT_COUNT];
  apus_from_f32_fn from_f32[APUS_SMALL_FLOAT_COUNT];
  apus_e8m0_fn f32_to_e8m0;
  void (*f32_to_f64)(size_t n, const float *x, double *y);
  void (*f64_to_f32)(size_t n, const double *x, float *y); ///< to nearest, ties to even
  /// Rounded to odd: inexact results get their last bit set. Rounding that to a narrower format gives what rounding the
  /// double once would have given, which rounding to nearest twice does not.
  void (*f64_to_f32_odd)(size_t n, const double *x, float *y);
  /// By the size of the integers, 1, 2, 4 or 8 bytes.
  apus_to_bits_fn f32_to_bits[4];
  apus_to_bits_fn f64_to_bits[4];
} apus_half_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_half_kernels *apus_half_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_half_kernels *apus_half_select(uint32_t levels);

/// The function for integers of 1, 2, 4 or 8 bytes, from doubles or floats; NULL for another size.
apus_to_bits_fn apus_half_to_bits(const apus_half_kernels *kernels, bool from_f64, size_t bytes);

/// The function for a format; NULL for a number that is none.
apus_to_f32_fn apus_half_to_f32(const apus_half_kernels *kernels, apus_small_float format);
apus_from_f32_fn apus_half_from_f32(const apus_half_kernels *kernels, apus_small_float format);

#ifdef __cplusplus
}
#endif
#endif
