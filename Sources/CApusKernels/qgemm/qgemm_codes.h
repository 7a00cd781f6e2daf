// What tiles that requantise their own sums need, before these leave the registers.
#ifndef APUS_QGEMM_CODES_H
#define APUS_QGEMM_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The destination of one tile: to[r * stride + j] = saturate(round(float(sum) * scales[j]) + zero_point).
///
/// Only for scales below 1 in magnitude (or NaN), so that no product passes the range of integers, and for zero points of
/// 8-bit types.
typedef struct {
  uint8_t *to;
  size_t stride;
  size_t columns;            ///< of the panel's that are written
  const float *scales;       ///< a whole panel of them
  int32_t zero_point;
  bool is_signed;            ///< s8 rather than u8
  const uint32_t *row_sums;  ///< NULL, or b_zero_points[j] * row_sums[r] comes off each sum
  const int32_t *b_zero_points;
} tile_codes;

#endif
