// The driver: finds the pixels of each square, and takes each panel of output channels through the steps.
#include "../cpu/table.h"
#include "../qgemm/qgemm_ops.h"
#include "qwinograd_ops.h"

#define KERNELS(LEVEL) extern const apus_qwinograd_kernel apus_qwinograd_##LEVEL;
#include "qwinograd.def"
#undef KERNELS

static const apus_qwinograd_kernel *const table[] = {
#define KERNELS(LEVEL) &apus_qwinograd_##LEVEL,
#include "qwinograd.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_qwinograd_kernel, apus_qwinograd, table)

enum { TILE = APUS_QWINOGRAD_TILE, SIDE = APUS_QWINOGRAD_SIDE, POSITIONS = APUS_QWINOGRAD_POSITIONS };

bool apus_qwinograd_fits(const void *weights, bool is_signed, size_t k, size_t n, int32_t low, int32_t high) {
  const uint8_t *element = weights, flip = is_signed ? 0 : 0x80;
  for (size_t j = 0; j < n; j++) {
    int64_t positive = 0, negative = 0;
    for (size_t i = 0; i < k; i++) {
      // Sums of 9 weights: short enough for vectors of narrow numbers.
      int32_t above = 0, below = 0;
      for (size_t t = 0; t < 9; t++, element++) {
        const int8_t w = (int8_t)(*element ^ flip);
        above += w > 0 ? w : 0;
        below += w < 0 ? w : 0;
      }
      positive += above, negative += below;
    }
    if (high * positive + low * negative >= APUS_QWINOGRAD_MOST || low * positive + high * negative < -APUS_QWINOGRAD_MOST) return false;
  }
  return true;
}

static size_t across(size_t outputs) { return outputs / TILE + (outputs % TILE != 0); }

/// Where a square's outputs begin.
typedef struct place {
  size_t image, y, x;
} place;

static place place_of(size_t square, const apus_qwinograd_image *image) {
  const size_t wide = across(image->out_width), each = wide * across(image->out_height);
  return (place){square / each, square % each / wide * TILE, square % wide * TILE};
}

size_t apus_qwinograd_squares(const apus_qwinograd_image *image) {
  return across(image->out_height) * across(image->out_width);
}

size_t apus_qwinograd_row(size_t k) { return (k + 31) / 32 * 32; }

void apus_qwinograd_input(const apus_qwinograd_kernel *kernel, const apus_qwinograd_image *image, const apus_qgemm_args *args,
                          size_t begin, size_t end, int16_t *v, size_t position_stride) {
  const size_t channels = args->k, row = image->in_width * channels;
  const uint8_t flip = args->a_is_signed ? 0x80 : 0;
  for (size_t square = begin; square < end; square++, v += apus_qwinograd_row(channels)) {
    const place at = place_of(square, image);
    const uint8_t *const first = (const uint8_t *)args->a + at.image * image->in_height * row;
    const uint8_t *pixels[POSITIONS];
    for (size_t i = 0; i < SIDE; i++) {
      // Positions before the image wrap around to huge ones.
      const size_t y = at.y + i - image->pad_top;
      for (size_t j = 0; j < SIDE; j++) {
        const size_t x = at.x + j - image->pad_left;
        const bool inside = y < image->in_height && x < image->in_width;
        pixels[i * SIDE + j] = inside ? first + y * row + x * channels : args->a_padding;
      }
    }
    kernel->ops->input(pixels, channels, flip, args->a_zero_point + flip, v, position_stride);
  }
}

/// Squares whose sums go to C together, and columns of a panel at most.
enum { RUN = 4, MOST_COLUMNS = 32 };

/// Bytes of transformed weights at a time: they stay in L2 beside V and the sums.
#ifndef U_BYTES
#define U_BYTES ((size_t)160 << 10)
#endif

/// Input channels whose transformed weights are there at a time: about equal parts of k, each a multiple of 4.
static size_t depth_of(size_t k, size_t nr) {
  const size_t fitting = U_BYTES / (POSITIONS * 2 * nr), parts = (k + fitting - 1) / fitting;
  return parts ? ((k + parts - 1) / parts + 3) / 4 * 4 : 0;
}

// A cache line more than a power of two, lest all positions fall into the same sets of the cache.
static size_t u_stride(size_t k, size_t nr) { return depth_of(k, nr) * nr + 32; }
static size_t m_stride(size_t squares, size_t nr) { return squares * nr + 16; }
static size_t u_size(size_t k, size_t nr) { return (POSITIONS * u_stride(k, nr) * sizeof(int16_t) + 63) / 64 * 64; }

size_t apus_qwinograd_workspace_size(const apus_qwinograd_kernel *kernel, size_t k, size_t squares) {
  const size_t nr = kernel->product->nr;
  return u_size(k, nr) + POSITIONS * m_stride(squares, nr) * sizeof(int32_t);
}

/// Brings one 36th of the packed weights of `depth` channels, which are transformed next, nearer.
static void fetch(const int8_t *panel, size_t k, size_t nr, size_t from, size_t depth, size_t part) {
  const size_t length = depth * nr, quarter = (length / 4 + 63) / 64 * 64;
  const int8_t *tap = panel + (part / 4 * k + from) * nr;
  for (size_t at = part % 4 * quarter; at < length && at < (part % 4 + 1) * quarter; at += 64) __builtin_prefetch(tap + at);
}

void apus_qwinograd_run(const apus_qwinograd_kernel *kernel, const apus_qwinograd_image *image, const apus_qgemm_args *args,
                        const int16_t *v, size_t position_stride, size_t begin, size_t end, size_t panel_begin, size_t panel_end,
                        void *workspace) {
  const size_t nr = kernel->product->nr, k = args->k, row = apus_qwinograd_row(k), squares = end - begin;
  const size_t panel_size = apus_qgemm_panel_size(nr, apus_qgemm_depth(9, k)), step = depth_of(k, nr);
  const size_t us = u_stride(k, nr), ms = m_stride(squares, nr);
  int16_t *u = workspace;
  int32_t *m = (int32_t *)(void *)((char *)workspace + u_size(k, nr));
  _Alignas(64) int32_t sums[TILE * RUN * TILE * MOST_COLUMNS], bias[MOST_COLUMNS];
  const size_t sums_row = RUN * TILE * nr;
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    const size_t column = panel * nr, columns = args->n - column < nr ? args->n - column : nr;
    for (size_t j = 0; j < nr; j++) bias[j] = args->sum_bias && j < columns ? args->sum_bias[column + j] : 0;
    if (k == 0) for (size_t i = 0; i < POSITIONS * ms; i++) m[i] = 0;
    for (size_t from = 0; from < k; from += step) {
      const size_t depth = k - from < step ? k - from : step;
      const int8_t *weights = (const int8_t *)args->b + panel * panel_size;
      kernel->ops->weights(weights, k, from, depth, u, us);
      const bool ends = from + depth == k;
      const size_t next = ends ? 0 : from + depth, next_depth = k - next < step ? k - next : step;
      for (size_t p = 0; p < POSITIONS; p++) {
        if (!ends || panel + 1 < panel_end) fetch(weights + (ends ? panel_size : 0), k, nr, next, next_depth, p);
        kernel->ops->multiply(squares, depth, v + p * position_stride + from, row, u + p * us, m + p * ms, from > 0);
      }
    }
    for (size_t square = begin; square < end;) {
      // Neighbours within a row of the image.
      const place at = place_of(square, image);
      size_t count = 0;
      for (; count < RUN && square < end && at.x + count * TILE < image->out_width; count++, square++)
        kernel->ops->output(m + (square - begin) * nr, ms, bias, sums + count * TILE * nr, sums_row);
      const size_t wide = image->out_width - at.x < count * TILE ? image->out_width - at.x : count * TILE;
      for (size_t y = 0; y < TILE && at.y + y < image->out_height; y++) {
        const size_t pixel = (at.image * image->out_height + at.y + y) * image->out_width + at.x;
        kernel->product->ops->finish(args, pixel, wide, column, sums + y * sums_row);
      }
    }
  }
}
