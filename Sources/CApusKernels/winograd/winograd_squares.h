// Where the squares of Winograd's convolution lie.
#ifndef APUS_WINOGRAD_SQUARES_H
#define APUS_WINOGRAD_SQUARES_H

#include "apus_winograd.h"

static inline size_t apus_squares_across(size_t outputs, size_t tile) { return outputs / tile + (outputs % tile != 0); }

/// Where a square's outputs begin.
typedef struct apus_square_place {
  size_t image, y, x;
} apus_square_place;

static inline apus_square_place apus_square_place_of(size_t square, const apus_winograd_image *image, size_t tile) {
  const size_t wide = apus_squares_across(image->out_width, tile), each = wide * apus_squares_across(image->out_height, tile);
  return (apus_square_place){square / each, square % each / wide * tile, square % wide * tile};
}

#endif
