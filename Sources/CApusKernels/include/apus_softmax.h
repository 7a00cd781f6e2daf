// Softmax and its logarithm over contiguous rows.
#ifndef APUS_SOFTMAX_H
#define APUS_SOFTMAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// One job: `rows` rows of `n` floats. Strides are in floats, from one row to the next.
typedef struct apus_softmax_args {
  size_t rows, n;
  const float *x;
  size_t x_stride;
  float scale;        ///< multiplies x before the mask is added; 1 for the plain softmax
  const float *mask;  ///< n floats per row added to scale * x, or NULL
  size_t mask_stride; ///< 0 where one row of mask serves all
  float *y;           ///< may be x with the same stride; otherwise disjoint from x and mask
  size_t y_stride;
  bool log;           ///< the logarithm of the softmax instead
} apus_softmax_args;

/// y = softmax(scale x + mask) for each row, with the row's maximum subtracted first.
///
/// A row that is all -infinity, or that holds +infinity or NaN, becomes all NaN (as numpy and onnxruntime have it);
/// single -infinities become 0. Results below 2^-126 before the division by the sum are 0. The largest error measured for
/// rows up to 10^5, relative to the result, is 2^-24 |x - max x| (the rounding of that difference) plus 2^-20; for the
/// logarithm, absolute, 2^-23 (|x - max x| + |result|).
/// A row's bits depend on that row, its mask and the kernel only. Nothing outside the rows is touched; unaligned is fine;
/// nothing is allocated; any number of threads may call it for disjoint y.
typedef void (*apus_softmax_fn)(const apus_softmax_args *args);

typedef struct apus_softmax_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  apus_softmax_fn softmax;
} apus_softmax_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_softmax_kernels *apus_softmax_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_softmax_kernels *apus_softmax_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
