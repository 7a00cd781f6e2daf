// The driver: finds the pixels of each square; and the transform of the weights, which is done once.
#include <stdbool.h>

#include "winograd_squares.h"
#include "winograd_tile.h"

static const apus_winograd_kernel kernels[] = {
#define APUS_WINOGRAD_KERNEL(NAME, ISA, TILE) {#NAME, ISA, TILE, &apus_winograd_ops_##NAME},
#include "winograd.def"
#undef APUS_WINOGRAD_KERNEL
};

size_t apus_winograd_kernel_count(void) { return sizeof kernels / sizeof *kernels; }

const apus_winograd_kernel *apus_winograd_kernel_at(size_t index) {
  return index < apus_winograd_kernel_count() ? &kernels[index] : NULL;
}

const apus_winograd_kernel *apus_winograd_select(uint32_t levels, size_t tile) {
  for (size_t i = 0; i < apus_winograd_kernel_count(); i++)
    if (kernels[i].tile == tile && (kernels[i].isa == APUS_ISA_GENERIC || levels >> kernels[i].isa & 1)) return &kernels[i];
  return NULL;
}

size_t apus_winograd_squares(const apus_winograd_kernel *kernel, const apus_winograd_image *image) {
  return apus_squares_across(image->out_height, kernel->tile) * apus_squares_across(image->out_width, kernel->tile);
}

/// The powers 1, x, x² of each point over the product of its distances from the other finite points; the last row is infinity's.
static const double weights_2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
#define ROOT_HALF 0.70710678118654752440
#define ROOT_TWO 1.41421356237309504880
static const double weights_4[6][3] = {
    {1, 0, 0},
    {-2.0 / 3, -2.0 / 3 * ROOT_HALF, -1.0 / 3},
    {-2.0 / 3, 2.0 / 3 * ROOT_HALF, -1.0 / 3},
    {1.0 / 6, 1.0 / 6 * ROOT_TWO, 1.0 / 3},
    {1.0 / 6, -1.0 / 6 * ROOT_TWO, 1.0 / 3},
    {0, 0, 1},
};

void apus_winograd_weights(size_t tile, const float *weights, size_t k, size_t n_begin, size_t n_end, float *u,
                           size_t position_stride) {
  const double(*g)[3] = tile == 4 ? weights_4 : weights_2;
  const size_t side = tile + 2, n = n_end - n_begin;
  enum { LANES = 16 };
  for (size_t j = 0; j < n; j += LANES) {
    const size_t lanes = n - j < LANES ? n - j : LANES;
    for (size_t i = 0; i < k; i++) {
      double taps[9][LANES] = {{0}}, rows[6][3][LANES];
      for (size_t l = 0; l < lanes; l++) {
        const float *from = weights + ((n_begin + j + l) * k + i) * 9;
        for (size_t t = 0; t < 9; t++) taps[t][l] = from[t];
      }
      for (size_t y = 0; y < side; y++)
        for (size_t x = 0; x < 3; x++)
          for (size_t l = 0; l < LANES; l++)
            rows[y][x][l] = g[y][0] * taps[x][l] + g[y][1] * taps[3 + x][l] + g[y][2] * taps[6 + x][l];
      for (size_t y = 0; y < side; y++)
        for (size_t x = 0; x < side; x++) {
          float *to = u + (y * side + x) * position_stride + i * n + j;
          for (size_t l = 0; l < lanes; l++)
            to[l] = (float)(g[x][0] * rows[y][0][l] + g[x][1] * rows[y][1][l] + g[x][2] * rows[y][2][l]);
        }
    }
  }
}

void apus_winograd_packed_weights(const apus_winograd_kernel *kernel, const float *packed, size_t tap_stride, size_t count,
                                  float *u, size_t position_stride) {
  kernel->ops->weights(packed, tap_stride, count, u, position_stride);
}

void apus_winograd_input(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                         const float *input, const float *zero, size_t begin, size_t end, float *v, size_t position_stride) {
  const size_t side = kernel->tile + 2, row = image->in_width * channels;
  for (size_t square = begin; square < end; square++) {
    const apus_square_place at = apus_square_place_of(square, image, kernel->tile);
    const float *const first = input + at.image * image->in_height * row;
    const float *pixels[APUS_WINOGRAD_MOST_POSITIONS];
    for (size_t i = 0; i < side; i++) {
      // Positions before the image wrap around to huge ones.
      const size_t y = at.y + i - image->pad_top;
      for (size_t j = 0; j < side; j++) {
        const size_t x = at.x + j - image->pad_left;
        const bool inside = y < image->in_height && x < image->in_width;
        pixels[i * side + j] = inside ? first + y * row + x * channels : zero;
      }
    }
    kernel->ops->input(pixels, channels, v + (square - begin) * channels, position_stride);
  }
}

void apus_winograd_output(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                          const float *m, size_t position_stride, size_t begin, size_t end, float *output,
                          size_t pixel_stride, const apus_epilogue *epilogue) {
  const size_t tile = kernel->tile;
  for (size_t square = begin; square < end; square++) {
    const apus_square_place at = apus_square_place_of(square, image, tile);
    float *pixels[APUS_WINOGRAD_MOST_OUTPUTS];
    const float *residuals[APUS_WINOGRAD_MOST_OUTPUTS];
    for (size_t i = 0; i < tile; i++)
      for (size_t j = 0; j < tile; j++) {
        const size_t y = at.y + i, x = at.x + j;
        const bool inside = y < image->out_height && x < image->out_width;
        const size_t offset = inside ? ((at.image * image->out_height + y) * image->out_width + x) * pixel_stride : 0;
        pixels[i * tile + j] = inside ? output + offset : NULL;
        residuals[i * tile + j] = inside && epilogue->residual ? epilogue->residual + offset : NULL;
      }
    kernel->ops->output(m + (square - begin) * channels, position_stride, channels, pixels,
                        epilogue->residual ? residuals : NULL, epilogue);
    if (epilogue->activation == APUS_ACTIVATION_FUNCTION)
      for (size_t i = 0; i < tile * tile; i++)
        if (pixels[i]) epilogue->function(pixels[i], channels, epilogue->params);
  }
}
