// Between the driver and the micro-kernels: one square, all its channels.
#ifndef APUS_WINOGRAD_TILE_H
#define APUS_WINOGRAD_TILE_H

#include "apus_winograd.h"

enum { APUS_WINOGRAD_MOST_POSITIONS = 36, APUS_WINOGRAD_MOST_POINTS = 10, APUS_WINOGRAD_MOST_OUTPUTS = 16, APUS_WINOGRAD_MOST_TAPS = 25, APUS_WINOGRAD_MOST_MULTIPLE = 8 };

/// The positive points of interpolation; with each its negative, 0 and infinity, which makes 4, 6 and 10.
static const double apus_winograd_points_4[] __attribute__((unused)) = {1};
static const double apus_winograd_points_6[] __attribute__((unused)) = {0.70710678118654752440, 1.41421356237309504880};
static const double apus_winograd_points_10[] __attribute__((unused)) = {0.45, 0.8, 1 / 0.8, 1 / 0.45};

struct apus_winograd_ops {
  /// Channels, or packed weights, of which these functions take multiples only.
  size_t multiple;
  /// `pixels`: the square's inputs row by row, each with `channels` floats. Result p goes to v + p * position_stride.
  void (*input)(const float *const *pixels, size_t channels, float *v, size_t position_stride);
  /// `pixels` and `residuals`: the square's outputs row by row; NULL where the square hangs over the edge. `residuals` may be NULL.
  void (*output)(const float *m, size_t position_stride, size_t channels, float *const *pixels,
                 const float *const *residuals, const apus_epilogue *epilogue);
  /// As apus_winograd_packed_weights; NULL but for windows of 3×3.
  void (*weights)(const float *packed, size_t tap_stride, size_t count, float *u, size_t position_stride);
};

#if defined(__x86_64__)
#define APUS_WINOGRAD_LEVELS(OF, ...)                                                                                  \
  OF(avx512, APUS_ISA_AVX512, __VA_ARGS__) OF(avx2, APUS_ISA_AVX2, __VA_ARGS__) OF(generic, APUS_ISA_GENERIC, __VA_ARGS__)
#elif defined(__aarch64__)
#define APUS_WINOGRAD_LEVELS(OF, ...) OF(neon, APUS_ISA_NEON, __VA_ARGS__) OF(generic, APUS_ISA_GENERIC, __VA_ARGS__)
#else
#define APUS_WINOGRAD_LEVELS(OF, ...) OF(generic, APUS_ISA_GENERIC, __VA_ARGS__)
#endif

#define APUS_WINOGRAD_OPS(LEVEL, ISA, NAME) extern const apus_winograd_ops apus_winograd_ops_##LEVEL##_##NAME;
#define APUS_WINOGRAD_FORM(NAME, AXES, WINDOW, TILE, POINTS) APUS_WINOGRAD_LEVELS(APUS_WINOGRAD_OPS, NAME)
#include "winograd.def"
#undef APUS_WINOGRAD_FORM
#undef APUS_WINOGRAD_OPS

#endif
