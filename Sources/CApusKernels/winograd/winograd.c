// The driver: finds the pixels of each square; and the transform of the weights, which is done once.
#include "winograd_tile.h"

/// A form's points beside what the table says of it.
typedef struct form {
  apus_winograd_kernel kernel;
  const double *points;
} form;

static const form forms[] = {
#define APUS_WINOGRAD_ENTRY(LEVEL, ISA, NAME, AXES, WINDOW, TILE, POINTS)                                              \
  {{#LEVEL "_" #NAME, ISA, AXES, WINDOW, TILE, &apus_winograd_ops_##LEVEL##_##NAME}, apus_winograd_points_##POINTS},
#define APUS_WINOGRAD_FORM(...) APUS_WINOGRAD_LEVELS(APUS_WINOGRAD_ENTRY, __VA_ARGS__)
#include "winograd.def"
#undef APUS_WINOGRAD_FORM
#undef APUS_WINOGRAD_ENTRY
};

size_t apus_winograd_kernel_count(void) { return sizeof forms / sizeof *forms; }

const apus_winograd_kernel *apus_winograd_kernel_at(size_t index) {
  return index < apus_winograd_kernel_count() ? &forms[index].kernel : NULL;
}

const apus_winograd_kernel *apus_winograd_select(uint32_t levels, size_t axes, size_t window, size_t tile) {
  for (size_t i = 0; i < apus_winograd_kernel_count(); i++) {
    const apus_winograd_kernel *const kernel = &forms[i].kernel;
    if (kernel->axes == axes && kernel->window == window && kernel->tile == tile
        && (kernel->isa == APUS_ISA_GENERIC || levels >> kernel->isa & 1))
      return kernel;
  }
  return NULL;
}

static size_t points_of(const apus_winograd_kernel *kernel) { return kernel->tile + kernel->window - 1; }

size_t apus_winograd_positions(const apus_winograd_kernel *kernel) {
  return kernel->axes == 2 ? points_of(kernel) * points_of(kernel) : points_of(kernel);
}

/// G, row by row: the powers of each point over the product of its distances from the other finite points, infinity's last.
static void matrix_of(const apus_winograd_kernel *kernel, double *g) {
  const size_t points = points_of(kernel), window = kernel->window;
  // The kernels of a table are its elements' first members.
  const double *const positive = ((const form *)kernel)->points;
  double finite[APUS_WINOGRAD_MOST_POINTS] = {0};
  for (size_t i = 0; i + 2 < points; i++) finite[i + 1] = i % 2 ? -positive[i / 2] : positive[i / 2];
  for (size_t i = 0; i + 1 < points; i++) {
    double value = 1;
    for (size_t j = 0; j + 1 < points; j++)
      if (j != i) value /= finite[i] - finite[j];
    for (size_t j = 0; j < window; j++, value *= finite[i]) g[i * window + j] = value;
  }
  for (size_t j = 0; j < window; j++) g[(points - 1) * window + j] = j == window - 1;
}

void apus_winograd_weights(const apus_winograd_kernel *kernel, const float *weights, size_t k, size_t n_begin, size_t n_end,
                           float *u, size_t position_stride) {
  double g[APUS_WINOGRAD_MOST_POINTS * APUS_WINOGRAD_MOST_TAPS];
  matrix_of(kernel, g);
  const size_t points = points_of(kernel), window = kernel->window, n = n_end - n_begin;
  // Rows, then columns; with one axis there is one column, which stays as it is.
  const size_t columns = kernel->axes == 2 ? window : 1, across = kernel->axes == 2 ? points : 1, count = window * columns;
  enum { LANES = 16 };
  for (size_t j = 0; j < n; j += LANES) {
    const size_t lanes = n - j < LANES ? n - j : LANES;
    for (size_t i = 0; i < k; i++) {
      double taps[APUS_WINOGRAD_MOST_TAPS][LANES] = {{0}}, rows[APUS_WINOGRAD_MOST_POSITIONS][LANES];
      for (size_t l = 0; l < lanes; l++) {
        const float *from = weights + ((n_begin + j + l) * k + i) * count;
        for (size_t t = 0; t < count; t++) taps[t][l] = from[t];
      }
      for (size_t y = 0; y < points; y++)
        for (size_t x = 0; x < columns; x++)
          for (size_t l = 0; l < LANES; l++) {
            double sum = 0;
            for (size_t t = 0; t < window; t++) sum += g[y * window + t] * taps[t * columns + x][l];
            rows[y * columns + x][l] = sum;
          }
      for (size_t y = 0; y < points; y++)
        for (size_t x = 0; x < across; x++) {
          float *to = u + (y * across + x) * position_stride + i * n + j;
          for (size_t l = 0; l < lanes; l++) {
            double sum = 0;
            if (kernel->axes == 2)
              for (size_t t = 0; t < window; t++) sum += g[x * window + t] * rows[y * columns + t][l];
            to[l] = (float)(kernel->axes == 2 ? sum : rows[y][l]);
          }
        }
    }
  }
}

void apus_winograd_packed_weights(const apus_winograd_kernel *kernel, const float *packed, size_t tap_stride, size_t count,
                                  float *u, size_t position_stride) {
  kernel->ops->weights(packed, tap_stride, count, u, position_stride);
}

/// Rows and columns of a square that has `extent` along each of the kernel's axes.
typedef struct sides {
  size_t high, wide;
} sides;

static sides sides_of(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t extent) {
  if (kernel->axes == 2) return (sides){extent, extent};
  return image->down ? (sides){extent, 1} : (sides){1, extent};
}

/// Where a square's outputs begin.
typedef struct place {
  size_t image, y, x;
} place;

static place place_of(size_t square, const apus_winograd_image *image, sides tile) {
  const size_t each = image->wide * image->high;
  return (place){square / each, square % each / image->wide * tile.high, square % image->wide * tile.wide};
}

void apus_winograd_input(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                         const float *input, const float *zero, size_t begin, size_t end, float *v, size_t position_stride) {
  const sides tile = sides_of(kernel, image, kernel->tile), side = sides_of(kernel, image, points_of(kernel));
  const size_t row = image->in_width * channels;
  for (size_t square = begin; square < end; square++) {
    const place at = place_of(square, image, tile);
    const float *const first = input + at.image * image->in_height * row;
    const float *pixels[APUS_WINOGRAD_MOST_POSITIONS];
    for (size_t i = 0; i < side.high; i++) {
      // Positions before the image wrap around to huge ones.
      const size_t y = at.y + i - image->pad_top;
      for (size_t j = 0; j < side.wide; j++) {
        const size_t x = at.x + j - image->pad_left;
        const bool inside = y < image->in_height && x < image->in_width;
        pixels[i * side.wide + j] = inside ? first + y * row + x * channels : zero;
      }
    }
    kernel->ops->input(pixels, channels, v + (square - begin) * channels, position_stride);
  }
}

void apus_winograd_output(const apus_winograd_kernel *kernel, const apus_winograd_image *image,
                          const apus_winograd_target *target, size_t channels, const float *m, size_t m_stride,
                          size_t position_stride, size_t begin, size_t end, float *output, const apus_epilogue *epilogue) {
  const sides tile = sides_of(kernel, image, kernel->tile);
  for (size_t square = begin; square < end; square++) {
    const place at = place_of(square, image, tile);
    float *pixels[APUS_WINOGRAD_MOST_OUTPUTS];
    const float *residuals[APUS_WINOGRAD_MOST_OUTPUTS];
    for (size_t i = 0; i < tile.high; i++)
      for (size_t j = 0; j < tile.wide; j++) {
        const size_t y = at.y + i - target->top, x = at.x + j - target->left;
        const bool inside = y < target->height && x < target->width;
        const size_t offset
            = inside ? at.image * target->image_stride + y * target->row_stride + x * target->pixel_stride : 0;
        pixels[i * tile.wide + j] = inside ? output + offset : NULL;
        residuals[i * tile.wide + j] = inside && epilogue->residual ? epilogue->residual + offset : NULL;
      }
    kernel->ops->output(m + (square - begin) * m_stride, position_stride, channels, pixels,
                        epilogue->residual ? residuals : NULL, epilogue);
    if (epilogue->activation == APUS_ACTIVATION_FUNCTION)
      for (size_t i = 0; i < tile.high * tile.wide; i++)
        if (pixels[i]) epilogue->function(pixels[i], channels, epilogue->params);
  }
}
