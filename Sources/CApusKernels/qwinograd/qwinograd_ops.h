// What a level provides to the common part.
#ifndef APUS_QWINOGRAD_OPS_H
#define APUS_QWINOGRAD_OPS_H

#include "apus_qwinograd.h"

enum { APUS_QWINOGRAD_TILE = 4, APUS_QWINOGRAD_SIDE = 6, APUS_QWINOGRAD_POSITIONS = 36 };

struct apus_qwinograd_ops {
  /// One square: `pixels` are its inputs row by row, `flip` is 128 where they are signed, and `zero_point` is that of flipped ones.
  /// Result p goes to v + p * position_stride, whole vectors of channels.
  void (*input)(const uint8_t *const *pixels, size_t channels, uint8_t flip, int32_t zero_point, int16_t *v, size_t position_stride);
  /// U of `depth` input channels from `from` on, of one panel of `k` channels; position p goes to u + p * position_stride.
  void (*weights)(const int8_t *panel, size_t k, size_t from, size_t depth, int16_t *u, size_t position_stride);
  /// m[r][j] = (+=) the sum of v[r][i] u[i][j] over `depth` channels: one position, `rows` squares, `row` words from one to the next.
  void (*multiply)(size_t rows, size_t depth, const int16_t *v, size_t row, const int16_t *u, int32_t *m, bool accumulates);
  /// One square's sums, `bias` added: that of output [y][x] goes to sums + y * row_stride + x * nr.
  void (*output)(const int32_t *m, size_t position_stride, const int32_t *bias, int32_t *sums, size_t row_stride);
};

#endif
