// Max and average pooling, f32, channels last.
#ifndef APUS_POOLING_H
#define APUS_POOLING_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_indirection.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Pooling windows of any rank, stride, dilation and padding, given as a table of taps (apus_indirection.h). Padding
/// taps are skipped.
///
/// Nothing outside the given channels is read or written, nothing is allocated. Any size may be 0.
typedef struct apus_pooling_args {
  size_t taps, channels;
  const float *input;
  const ptrdiff_t *table; ///< [pixels][taps]
  float *output;          ///< pixel p at output + p * output_stride; must not overlap the input
  size_t output_stride;
  /// Averages only: what to multiply the sum of pixel p with; NULL divides by the number of taps that are not padding
  /// (ONNX count_include_pad = 0). Maxima ignore it.
  const float *scales;
} apus_pooling_args;

/// Computes output pixels [pixel_begin, pixel_end). Disjoint ranges may be computed concurrently; bits do not depend on
/// the ranges.
typedef void (*apus_pooling_function)(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end);

/// One implementation: the element of a constant table, never freed.
typedef struct apus_pooling_kernel {
  const char *name;
  apus_isa isa;
  /// NaN under any tap gives NaN. A window of nothing but padding gives minus infinity.
  apus_pooling_function max;
  /// A window of nothing but padding gives 0.
  apus_pooling_function average;
  /// output[c] = scale * sum over r < rows of input[r * row_stride + c], for c < channels: global average pooling with
  /// scale = 1 / rows, and sums over leading axes. Summed in groups of 64 rows, so that long sums keep their accuracy.
  void (*sum_rows)(size_t rows, size_t channels, const float *input, size_t row_stride, float scale, float *output);
} apus_pooling_kernel;

/// Number of kernels compiled in, whatever this CPU can run.
size_t apus_pooling_kernel_count(void);

/// The kernel at an index below the count, best first, generic last; NULL beyond the end.
const apus_pooling_kernel *apus_pooling_kernel_at(size_t index);

/// The best kernel whose level is in `levels` (see apus_cpu_levels_capped).
const apus_pooling_kernel *apus_pooling_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
