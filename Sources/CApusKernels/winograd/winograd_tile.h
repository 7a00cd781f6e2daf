// Between the driver and the micro-kernels: one square, all its channels.
#ifndef APUS_WINOGRAD_TILE_H
#define APUS_WINOGRAD_TILE_H

#include "apus_winograd.h"

enum { APUS_WINOGRAD_MOST_POSITIONS = 36, APUS_WINOGRAD_MOST_OUTPUTS = 16 };

struct apus_winograd_ops {
  /// `pixels`: the square's inputs row by row, each with `channels` floats. Result p goes to v + p * position_stride.
  void (*input)(const float *const *pixels, size_t channels, float *v, size_t position_stride);
  /// `pixels` and `residuals`: the square's outputs row by row; NULL where the square hangs over the edge. `residuals` may be NULL.
  void (*output)(const float *m, size_t position_stride, size_t channels, float *const *pixels,
                 const float *const *residuals, const apus_epilogue *epilogue);
  /// As apus_winograd_packed_weights.
  void (*weights)(const float *packed, size_t tap_stride, size_t count, float *u, size_t position_stride);
};

#define APUS_WINOGRAD_KERNEL(NAME, ISA, TILE) extern const apus_winograd_ops apus_winograd_ops_##NAME;
#include "winograd.def"
#undef APUS_WINOGRAD_KERNEL

#endif
