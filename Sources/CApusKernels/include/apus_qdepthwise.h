// Depthwise convolution of 8-bit integers, channels last.
#ifndef APUS_QDEPTHWISE_H
#define APUS_QDEPTHWISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// One image, each output channel made from the input channel of the same number (channel multiplier 1):
///
///     S[y,x,c] = sum over i,j of (in[y*stride_y + i*dilation_y - pad_top, x*stride_x + j*dilation_x - pad_left, c] - in_zero_point)
///                                * (weights[i,j,c] - their zero point)    (+ sum_bias[c])
///
/// modulo 2^32, taps outside the input left out (as if they held the zero point). Then, as `output` says, S itself in
/// s32, or saturate(round(float(S) * scale[c]) + zero point) in 8 bits: ties to even, each operation rounded by itself, NaN gives
/// `low`. The same bits on every level.
///
/// Strides of memory are in elements: [y,x,c] lies at base + y*row_stride + x*pixel_stride + c. Nothing outside the given
/// channels is touched, nothing is allocated, unaligned is fine. Any size may be 0, strides and dilations are at least 1. Sizes
/// and offsets must fit into ptrdiff_t: the caller checks.
typedef struct apus_qdepthwise_args {
  size_t channels;
  size_t in_height, in_width, in_row_stride, in_pixel_stride;
  size_t out_height, out_width, out_row_stride, out_pixel_stride;
  size_t kernel_height, kernel_width;
  size_t stride_y, stride_x, dilation_y, dilation_x;
  size_t pad_top, pad_left;
  const void *input;
  bool in_is_signed;       ///< s8 rather than u8
  int32_t in_zero_point;   ///< within the range of the input's type
  const int16_t *weights;  ///< as apus_qdepthwise_pack_weights made them
  const int32_t *sum_bias; ///< one per channel, or NULL
  bool requantizes;        ///< 8-bit output rather than s32
  void *output;            ///< int32_t, or uint8_t/int8_t by `low` and `high`; must not overlap the input
  float scale;
  const float *scales;     ///< one per channel instead, or NULL
  int32_t zero_point, low, high;
} apus_qdepthwise_args;

/// Repacks ONNX weights [channels, 1, taps] (u8 or s8) into [taps][channels] with the zero points subtracted: `zero_point`,
/// or one per channel. Zero points must lie within the range of the weights' type.
void apus_qdepthwise_pack_weights(size_t channels, size_t taps, const void *weights, bool is_signed, int32_t zero_point,
                                  const int32_t *zero_points, int16_t *packed);

typedef struct apus_qdepthwise_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  /// Computes output rows [row_begin, row_end). Disjoint rows may be computed concurrently.
  void (*run)(const apus_qdepthwise_args *args, size_t row_begin, size_t row_end);
} apus_qdepthwise_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_qdepthwise_kernels *apus_qdepthwise_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_qdepthwise_kernels *apus_qdepthwise_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
