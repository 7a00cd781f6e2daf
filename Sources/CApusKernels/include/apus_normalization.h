// Normalisations: layer, RMS, instance and group.
//
// Mean and variance are taken in two passes, so that a large mean does not spoil a small variance. Strides are in
// floats, from one row to the next. Nothing outside the given elements is touched; unaligned is fine; nothing is
// allocated; any number of threads may call these for disjoint outputs. A row's bits depend on that row and the kernel
// only.
#ifndef APUS_NORMALIZATION_H
#define APUS_NORMALIZATION_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Normalisation of `rows` rows of `n` floats each, optionally of the sum of two (the transformer's residual).
typedef struct apus_row_norm_args {
  size_t rows, n;
  const float *x;
  size_t x_stride;
  const float *residual;      ///< added to x before anything else, or NULL
  size_t residual_stride;
  const float *residual_bias; ///< n floats added to each row of x + residual, or NULL; also without `residual`
  float *sum;                 ///< where x + residual + residual_bias goes, or NULL; may be x or residual, same stride
  size_t sum_stride;
  const float *scale;         ///< n floats, or NULL for 1
  const float *bias;          ///< n floats, or NULL for 0
  float epsilon;
  float *y;                   ///< may be x or residual, same stride; not `sum`
  size_t y_stride;
  float *mean;                ///< one per row, or NULL; not written by RMS normalisation
  float *inverse_deviation;   ///< 1 / sqrt(variance + epsilon), or of the mean square; one per row, or NULL
} apus_row_norm_args;

/// layer_norm: y = (v - mean v) / sqrt(variance v + epsilon) * scale + bias, v = x + residual + residual_bias.
/// rms_norm:   y = v / sqrt(mean v^2 + epsilon) * scale + bias.
typedef void (*apus_row_norm_fn)(const apus_row_norm_args *args);

/// One group of one image, channel after channel (NCHW): instance normalisation is the group of one channel.
/// y[c][i] = (x[c][i] - mean) / sqrt(variance + epsilon) * scale[c] + bias[c], mean and variance over channels * spatial
/// elements. scale and bias have `channels` floats each, or are NULL for 1 and 0. y may be x.
typedef void (*apus_group_norm_fn)(size_t channels, size_t spatial, const float *x, const float *scale,
                                   const float *bias, float epsilon, float *y);

/// All groups of one image, pixel after pixel (NHWC): rows of `channels` floats. `groups` divides `channels`, and equals
/// it for instance normalisation. `workspace` holds 2 * channels floats. y may be x with the same stride.
typedef void (*apus_group_norm_nhwc_fn)(size_t pixels, size_t channels, size_t groups, const float *x, size_t x_stride,
                                        const float *scale, const float *bias, float epsilon, float *y, size_t y_stride,
                                        float *workspace);

typedef struct apus_normalization_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  apus_row_norm_fn layer_norm, rms_norm;
  apus_group_norm_fn group_norm;
  apus_group_norm_nhwc_fn group_norm_nhwc;
} apus_normalization_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_normalization_kernels *apus_normalization_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_normalization_kernels *apus_normalization_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
