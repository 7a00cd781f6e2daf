// Sums, products and maxima of 8-bit tensors.
//
// Common to all: sizes may be 0; unaligned is fine; nothing beyond the given elements is touched; nothing is allocated; callable
// from any thread. All levels give the same bits: every operation on floats is rounded by itself, in the order written.
#ifndef APUS_QELEMENTWISE_H
#define APUS_QELEMENTWISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_indirection.h"

#ifdef __cplusplus
extern "C" {
#endif

/// y[i] = saturate(round((base + float(a[i]) * a_ratio) + float(b[i]) * b_ratio)), without the last summand where b is NULL. Ties
/// to even, NaN gives the lowest code. All of a, b and y are u8 or s8. y may be a or b.
typedef struct apus_qadd_args {
  size_t n;
  bool is_signed;
  const void *a, *b;
  float base, a_ratio, b_ratio;
  void *y;
} apus_qadd_args;

/// y[i] = saturate(round(float((a[i] - a_zero) * (b[i] - b_zero)) * ratio + zero_point)); where b is NULL its difference is
/// `factor`. Else as above.
typedef struct apus_qmul_args {
  size_t n;
  bool is_signed;
  const void *a, *b;
  int32_t a_zero, b_zero, factor;
  float ratio, zero_point;
  void *y;
} apus_qmul_args;

/// Maxima of windows over an image with channels last; see apus_pooling.h. A window of nothing but padding gives the lowest code.
typedef struct apus_qmax_args {
  size_t taps, channels;
  bool is_signed;
  const void *input;
  const ptrdiff_t *table; ///< [pixels][taps]
  void *output;           ///< pixel p at output + p * channels; must not overlap the input
} apus_qmax_args;

/// sums[c] = sum over p < pixels of input[p * pixel_stride + c], modulo 2^32.
typedef struct apus_qsum_args {
  size_t pixels, channels;
  bool is_signed;
  const void *input;
  size_t pixel_stride;
  int32_t *sums;
} apus_qsum_args;

typedef struct apus_qelementwise_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  void (*add)(const apus_qadd_args *args);
  void (*mul)(const apus_qmul_args *args);
  /// Output pixels [pixel_begin, pixel_end); disjoint ranges may be computed concurrently.
  void (*max)(const apus_qmax_args *args, size_t pixel_begin, size_t pixel_end);
  void (*sum)(const apus_qsum_args *args);
} apus_qelementwise_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_qelementwise_kernels *apus_qelementwise_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_qelementwise_kernels *apus_qelementwise_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
