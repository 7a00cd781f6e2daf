// Depthwise convolution, f32, channels last.
#ifndef APUS_DEPTHWISE_H
#define APUS_DEPTHWISE_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_epilogue.h"

#ifdef __cplusplus
extern "C" {
#endif

/// One image, each output channel made from the input channel of the same number (channel multiplier 1):
///
///     out[y,x,c] = act( sum over i,j of in[y*stride_y + i*dilation_y - pad_top, x*stride_x + j*dilation_x - pad_left, c]
///                                     * weights[i,j,c]   + bias[c] + residual[y,x,c] )
///
/// with zeros (skipped, not multiplied) outside the input. One-dimensional convolutions have heights of 1. Other ranks
/// and multipliers are products with one input channel per group: see apus_sgemm.h.
///
/// Strides of memory are in floats: element [y,x,c] lies at base + y*row_stride + x*pixel_stride + c. The residual has
/// the pixels of the output in order, residual_stride floats apart, each with `channels` floats. It may be the output
/// itself if the output's pixels lie the same way. Nothing outside the given channels is read or written, nothing is allocated. Any
/// size may be 0, but strides and dilations must be at least 1. Sizes and offsets must fit into ptrdiff_t: the caller checks.
///
/// Every output is summed in the order of the taps, whatever the slice; bits differ only between kernels.
typedef struct apus_depthwise_args {
  size_t channels;
  size_t in_height, in_width, in_row_stride, in_pixel_stride;
  size_t out_height, out_width, out_row_stride, out_pixel_stride;
  size_t kernel_height, kernel_width;
  size_t stride_y, stride_x, dilation_y, dilation_x;
  size_t pad_top, pad_left; ///< padding below and to the right follows from the output's size
  const float *input;
  const float *weights; ///< [kernel_height][kernel_width][channels], contiguous
  float *output;        ///< must not overlap the input
  apus_epilogue epilogue;
} apus_depthwise_args;

typedef struct apus_depthwise_ops apus_depthwise_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_depthwise_kernel {
  const char *name;
  apus_isa isa;
  size_t channel_tile; ///< channels computed at once; ranges of channels are best split at multiples of it
  const apus_depthwise_ops *ops;
} apus_depthwise_kernel;

/// Number of kernels compiled in, whatever this CPU can run.
size_t apus_depthwise_kernel_count(void);

/// The kernel at an index below the count, best first, generic last; NULL beyond the end.
const apus_depthwise_kernel *apus_depthwise_kernel_at(size_t index);

/// The best kernel whose level is in `levels` (see apus_cpu_levels_capped).
const apus_depthwise_kernel *apus_depthwise_select(uint32_t levels);

/// Repacks ONNX weights [channels, 1, kernel_height, kernel_width] into [taps][channels], taps = height * width.
void apus_depthwise_pack_weights(size_t channels, size_t taps, const float *weights, float *packed);

/// Computes output rows [row_begin, row_end) of channels [channel_begin, channel_end). All pointers in `args` describe
/// the whole image. Disjoint slices may be computed concurrently.
void apus_depthwise_run(const apus_depthwise_kernel *kernel, const apus_depthwise_args *args, size_t row_begin,
                        size_t row_end, size_t channel_begin, size_t channel_end);

#ifdef __cplusplus
}
#endif
#endif
