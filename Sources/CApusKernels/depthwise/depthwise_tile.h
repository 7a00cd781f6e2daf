// Between the driver and the micro-kernels: some neighbouring output pixels of one row, one range of channels.
#ifndef APUS_DEPTHWISE_TILE_H
#define APUS_DEPTHWISE_TILE_H

#include "apus_depthwise.h"

/// All pointers stand on the tile's first channel. Only taps inside the input are given.
typedef struct apus_depthwise_tile {
  const float *input;     ///< the first output pixel's first tap
  size_t tap_row, tap;    ///< floats from a tap to the one below, to the one on its right
  size_t pixel;           ///< floats between the first taps of neighbouring output pixels
  const float *weights;   ///< the first tap's
  size_t weights_row, weights_tap;
  size_t taps_high, taps_wide;
  float *output;
  size_t output_pixel;
  const float *bias, *residual;
  size_t channels; ///< at least 1, at most the kernel's channel tile
  const apus_epilogue *epilogue;
} apus_depthwise_tile;

typedef void (*apus_depthwise_tile_function)(const apus_depthwise_tile *tile);

/// A whole row of output pixels, one vector of channels, by windows of a width and a stride that the function was made for and
/// that have no holes from side to side. All pointers stand on the first of the channels.
typedef struct apus_depthwise_row {
  const float *input; ///< the first pixel of the first row that lies inside the input
  size_t tap_row;     ///< floats from a row of taps to the one below
  size_t pixel;       ///< floats from a pixel of the input to the next
  size_t width, pad;  ///< of the input; to its left
  const float *weights;
  size_t weights_row, weights_tap;
  size_t taps_high; ///< only those inside the input
  float *output;
  size_t output_pixel, output_width;
  const float *bias, *residual;
  const apus_epilogue *epilogue;
} apus_depthwise_row;

typedef void (*apus_depthwise_row_function)(const apus_depthwise_row *row);

enum { APUS_DEPTHWISE_VECTORS = 2, APUS_DEPTHWISE_WIDTHS = 2, APUS_DEPTHWISE_STRIDES = 2 };

struct apus_depthwise_ops {
  size_t pixels; ///< computed by `many`
  size_t lanes;
  /// [vectors - 1], vectors = ceil(channels / lanes)
  apus_depthwise_tile_function one[APUS_DEPTHWISE_VECTORS], many[APUS_DEPTHWISE_VECTORS];
  /// [(window - 3) / 2][stride - 1]: windows of 3 and 5, strides of 1 and 2.
  apus_depthwise_row_function rows[APUS_DEPTHWISE_WIDTHS][APUS_DEPTHWISE_STRIDES];
};

#define APUS_DEPTHWISE_KERNEL(NAME, ISA, CHANNELS) extern const apus_depthwise_ops apus_depthwise_ops_##NAME;
#include "depthwise.def"
#undef APUS_DEPTHWISE_KERNEL

#endif
