// The driver: finds the pixels of each square; and the transform of the weights, which is done once.
#include <string.h>

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

static size_t taps_of(const apus_winograd_kernel *kernel) {
  return kernel->axes == 2 ? kernel->window * kernel->window : kernel->window;
}

/// Floats between what is copied for a vector that the channels do not fill.
enum { LANES = APUS_WINOGRAD_MOST_MULTIPLE };

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
  enum { AT_ONCE = 16 };
  for (size_t j = 0; j < n; j += AT_ONCE) {
    const size_t lanes = n - j < AT_ONCE ? n - j : AT_ONCE;
    for (size_t i = 0; i < k; i++) {
      double taps[APUS_WINOGRAD_MOST_TAPS][AT_ONCE] = {{0}}, rows[APUS_WINOGRAD_MOST_POSITIONS][AT_ONCE];
      for (size_t l = 0; l < lanes; l++) {
        const float *from = weights + ((n_begin + j + l) * k + i) * count;
        for (size_t t = 0; t < count; t++) taps[t][l] = from[t];
      }
      for (size_t y = 0; y < points; y++)
        for (size_t x = 0; x < columns; x++)
          for (size_t l = 0; l < AT_ONCE; l++) {
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
  const apus_winograd_ops *const ops = kernel->ops;
  const size_t rest = count % ops->multiple, whole = count - rest, taps = taps_of(kernel), positions = apus_winograd_positions(kernel);
  if (whole) ops->weights(packed, tap_stride, whole, u, position_stride);
  if (!rest) return;
  float from[APUS_WINOGRAD_MOST_TAPS * LANES] = {0}, to[APUS_WINOGRAD_MOST_POSITIONS * LANES];
  for (size_t t = 0; t < taps; t++) memcpy(from + t * LANES, packed + t * tap_stride + whole, rest * sizeof *from);
  ops->weights(from, LANES, ops->multiple, to, LANES);
  for (size_t p = 0; p < positions; p++) memcpy(u + p * position_stride + whole, to + p * LANES, rest * sizeof *to);
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

/// One square, of any number of channels.
static void transform_input(const apus_winograd_kernel *kernel, const float *const *pixels, size_t channels, float *v,
                            size_t position_stride) {
  const apus_winograd_ops *const ops = kernel->ops;
  const size_t rest = channels % ops->multiple, whole = channels - rest, positions = apus_winograd_positions(kernel);
  if (whole) ops->input(pixels, whole, v, position_stride);
  if (!rest) return;
  float from[APUS_WINOGRAD_MOST_POSITIONS * LANES] = {0}, to[APUS_WINOGRAD_MOST_POSITIONS * LANES];
  const float *copies[APUS_WINOGRAD_MOST_POSITIONS];
  for (size_t p = 0; p < positions; p++) {
    memcpy(from + p * LANES, pixels[p] + whole, rest * sizeof *from);
    copies[p] = from + p * LANES;
  }
  ops->input(copies, ops->multiple, to, LANES);
  for (size_t p = 0; p < positions; p++) memcpy(v + p * position_stride + whole, to + p * LANES, rest * sizeof *to);
}

/// Likewise; `pixels` and `residuals` are `outputs` addresses or NULL.
static void transform_output(const apus_winograd_kernel *kernel, const float *m, size_t position_stride, size_t channels,
                             size_t outputs, float *const *pixels, const float *const *residuals,
                             const apus_epilogue *epilogue) {
  const apus_winograd_ops *const ops = kernel->ops;
  const size_t rest = channels % ops->multiple, whole = channels - rest, positions = apus_winograd_positions(kernel);
  if (whole) ops->output(m, position_stride, whole, pixels, residuals, epilogue);
  if (!rest) return;
  float from[APUS_WINOGRAD_MOST_POSITIONS * LANES] = {0}, to[APUS_WINOGRAD_MOST_OUTPUTS * LANES];
  float added[APUS_WINOGRAD_MOST_OUTPUTS * LANES] = {0}, bias[LANES] = {0};
  float *copies[APUS_WINOGRAD_MOST_OUTPUTS];
  const float *others[APUS_WINOGRAD_MOST_OUTPUTS];
  for (size_t p = 0; p < positions; p++) memcpy(from + p * LANES, m + p * position_stride + whole, rest * sizeof *from);
  for (size_t i = 0; i < outputs; i++) {
    copies[i] = to + i * LANES;
    others[i] = added + i * LANES;
    if (residuals && residuals[i]) memcpy(added + i * LANES, residuals[i] + whole, rest * sizeof *added);
  }
  apus_epilogue own = *epilogue;
  if (epilogue->bias) {
    memcpy(bias, epilogue->bias + whole, rest * sizeof *bias);
    own.bias = bias;
  }
  ops->output(from, LANES, ops->multiple, copies, residuals ? others : NULL, &own);
  for (size_t i = 0; i < outputs; i++)
    if (pixels[i]) memcpy(pixels[i] + whole, to + i * LANES, rest * sizeof *to);
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
    transform_input(kernel, pixels, channels, v + (square - begin) * channels, position_stride);
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
    transform_output(kernel, m + (square - begin) * m_stride, position_stride, channels, tile.high * tile.wide, pixels,
                     epilogue->residual ? residuals : NULL, epilogue);
    if (epilogue->activation == APUS_ACTIVATION_FUNCTION)
      for (size_t i = 0; i < tile.high * tile.wide; i++)
        if (pixels[i]) epilogue->function(pixels[i], channels, epilogue->params);
  }
}
