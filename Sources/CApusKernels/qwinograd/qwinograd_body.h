// The steps of one level, in vectors of 32-bit or twice as many 16-bit integers. The including file defines
//
//     LANES                  32-bit integers in a vector
//     VECTORS, ROWS          vectors in a row of a panel; rows that are multiplied at once
//     add_pairs(sum, a, b)   each sum and the pair of 16-bit products that belongs to it, modulo 2^32
//     WEIGHT_LOOP            UNROLL, where the transform of weights is worth its code
//
// and surrounds this with its target region. Vector extensions, not intrinsics, for all that is additions and shifts.
#include <string.h>

#include "../cpu/table.h"
#include "qwinograd_ops.h"

#define NR (VECTORS * LANES)
#define SIDE APUS_QWINOGRAD_SIDE
#define TILE APUS_QWINOGRAD_TILE
#define UNROLL _Pragma("clang loop unroll(full)")
// For rows and columns of a square: unrolled, they would spill as much as they load and store here, in six times the code.
#define LOOP _Pragma("clang loop unroll(disable)")
#ifndef WEIGHT_LOOP
#define WEIGHT_LOOP LOOP
#endif
// Without it, functions that name no intrinsic of 512 bits are compiled for half of that.
#define WHOLE __attribute__((min_vector_width(32 * LANES)))

// Bᵀ for the points 0, ±1, ±2, infinity: six numbers, `step` apart.
APUS_INLINE void input_row(const words *d, int step, words *r) {
  const words d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const words even = d4 - d2, odd = (d3 - d1) << 1, even4 = d4 - (d2 << 2), odd4 = d3 - (d1 << 2);
  r[0] = ((d0 - d2) << 2) + even;
  r[1] = even4 + odd4;
  r[2] = even4 - odd4;
  r[3] = even + odd;
  r[4] = even - odd;
  r[5] = ((d1 - d3) << 2) + (d5 - d3);
}

// G, its rows times 4, -6, -6, 24, 24 and 1: three taps to six numbers.
APUS_INLINE void weight_row(const words *g, int step, words *r) {
  const words g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const words near = g0 + g2, far = g0 + (g2 << 2), twice = g1 << 1;
  r[0] = g0;
  r[1] = near + g1;
  r[2] = near - g1;
  r[3] = far + twice;
  r[4] = far - twice;
  r[5] = g2;
}

// Aᵀ, its columns times what G's rows lack of 24: six numbers to four.
APUS_INLINE void output_row(const lanes *m, int step, lanes *r) {
  const lanes m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step], m5 = m[5 * step];
  const lanes near = (m1 + m2) << 2, odd = (m1 - m2) << 2, far = m3 + m4, odd_far = (m3 - m4) << 1;
  const lanes first = m0 << 1, last = m5 << 3;
  r[0] = first + (first << 1) + far - near;
  r[1] = odd_far - odd;
  r[2] = (far << 2) - near;
  r[3] = (odd_far << 2) - odd + last + (last << 1);
}

// Channels of all inputs of a square, a whole vector of them. Within groups of four they are stored as 0, 2, 1, 3: that is how the
// weights' pairs fall out of bytes.
static WHOLE void input_lanes(const uint8_t *const *pixels, size_t channel, uint8_t flip, words zero_point, int16_t *v, size_t position_stride) {
  words half[SIDE * SIDE];
  const bytes flips = (bytes){0} + flip;
  LOOP for (int x = 0; x < SIDE; x++) {
    words column[SIDE], r[SIDE];
    UNROLL for (int y = 0; y < SIDE; y++) {
      bytes d;
      memcpy(&d, pixels[y * SIDE + x] + channel, sizeof d);
      column[y] = __builtin_convertvector(PAIRED(d ^ flips), words) - zero_point;
    }
    input_row(column, 1, r);
    UNROLL for (int y = 0; y < SIDE; y++) half[y * SIDE + x] = r[y];
  }
  LOOP for (int y = 0; y < SIDE; y++) {
    words r[SIDE];
    input_row(half + y * SIDE, 1, r);
    UNROLL for (int x = 0; x < SIDE; x++) memcpy(v + (size_t)(y * SIDE + x) * position_stride, &r[x], sizeof r[x]);
  }
}

static WHOLE void input(const uint8_t *const *pixels, size_t channels, uint8_t flip, int32_t zero_point, int16_t *v, size_t position_stride) {
  const words zero = (words){0} + (uint16_t)zero_point;
  size_t c = 0;
  for (; channels - c >= 2 * LANES; c += 2 * LANES) input_lanes(pixels, c, flip, zero, v + c, position_stride);
  if (c == channels) return;
  uint8_t rest[SIDE * SIDE][2 * LANES] = {{0}};
  const uint8_t *rests[SIDE * SIDE];
  for (size_t i = 0; i < SIDE * SIDE; i++) {
    memcpy(rest[i], pixels[i] + c, channels - c);
    rests[i] = rest[i];
  }
  input_lanes(rests, 0, flip, zero, v + c, position_stride);
}

static WHOLE void weights(const int8_t *panel, size_t k, size_t from, size_t depth, int16_t *u, size_t position_stride) {
  panel += from * NR;
  for (size_t at = 0; at < depth * NR; at += 4 * LANES) {
    words taps[9];
    UNROLL for (int t = 0; t < 9; t++) memcpy(&taps[t], panel + (size_t)t * k * NR + at, sizeof taps[t]);
    // The vector's bytes are groups of four channels: first the even ones, then the odd ones.
    const size_t group = at / (4 * NR), column = at % (4 * NR) / 2;
    UNROLL for (int odd = 0; odd < 2; odd++) {
      int16_t *to = u + (2 * group + (size_t)odd) * 2 * NR + column;
      words half[SIDE * 3];
      WEIGHT_LOOP for (int x = 0; x < 3; x++) {
        words column3[3], r[SIDE];
        UNROLL for (int y = 0; y < 3; y++)
            column3[y] = (words)((signed_words)(odd ? taps[y * 3 + x] : taps[y * 3 + x] << 8) >> 8);
        weight_row(column3, 1, r);
        UNROLL for (int y = 0; y < SIDE; y++) half[y * 3 + x] = r[y];
      }
      WEIGHT_LOOP for (int y = 0; y < SIDE; y++) {
        words r[SIDE];
        weight_row(half + y * 3, 1, r);
        UNROLL for (int x = 0; x < SIDE; x++) memcpy(to + (size_t)(y * SIDE + x) * position_stride, &r[x], sizeof r[x]);
      }
    }
  }
}

APUS_INLINE void multiply_rows(const int rows, size_t depth, const int16_t *v, size_t row, const int16_t *u, int32_t *m, bool accumulates) {
  lanes sums[ROWS * VECTORS];
  UNROLL for (int i = 0; i < rows * VECTORS; i++) {
    if (accumulates) memcpy(&sums[i], m + i * LANES, sizeof sums[i]);
    else sums[i] = (lanes){0};
  }
  const int16_t *from[ROWS];
  UNROLL for (int r = 0; r < rows; r++) from[r] = v + (size_t)r * row;
  for (size_t i = 0; i < depth; i += 2, u += 2 * NR) {
    words b[VECTORS];
    memcpy(b, u, sizeof b);
    UNROLL for (int r = 0; r < rows; r++) {
      uint32_t pair;
      memcpy(&pair, from[r] + i, sizeof pair);
      const words a = (words)((lanes){0} + pair);
      UNROLL for (int j = 0; j < VECTORS; j++) sums[r * VECTORS + j] = add_pairs(sums[r * VECTORS + j], a, b[j]);
    }
  }
  UNROLL for (int i = 0; i < rows * VECTORS; i++) memcpy(m + i * LANES, &sums[i], sizeof sums[i]);
}

static WHOLE void multiply(size_t rows, size_t depth, const int16_t *v, size_t row, const int16_t *u, int32_t *m, bool accumulates) {
  while (rows) {
    // Tiles of about equal height.
    const size_t tiles = (rows + ROWS - 1) / ROWS, height = (rows + tiles - 1) / tiles;
    switch (height) {
#define ROWS_OF(COUNT) case COUNT: multiply_rows(COUNT, depth, v, row, u, m, accumulates); break;
      ROWS_OF(1) ROWS_OF(2) ROWS_OF(3) ROWS_OF(4)
#if ROWS > 4
      ROWS_OF(5) ROWS_OF(6) ROWS_OF(7) ROWS_OF(8)
#endif
#undef ROWS_OF
    default: break;
    }
    v += height * row, m += height * NR, rows -= height;
  }
}

static WHOLE void output(const int32_t *m, size_t position_stride, const int32_t *bias, int32_t *sums, size_t row_stride) {
  for (size_t j = 0; j < NR; j += LANES) {
    lanes half[TILE * SIDE], add;
    memcpy(&add, bias + j, sizeof add);
    LOOP for (int x = 0; x < SIDE; x++) {
      lanes column[SIDE], r[TILE];
      UNROLL for (int y = 0; y < SIDE; y++) memcpy(&column[y], m + (size_t)(y * SIDE + x) * position_stride + j, sizeof column[y]);
      output_row(column, 1, r);
      UNROLL for (int y = 0; y < TILE; y++) half[y * SIDE + x] = r[y];
    }
    LOOP for (int y = 0; y < TILE; y++) {
      lanes r[TILE];
      output_row(half + y * SIDE, 1, r);
      UNROLL for (int x = 0; x < TILE; x++) {
        // The inverse of 9 modulo 2^32.
        const lanes sum = (lanes)((signed_lanes)(r[x] * 0x38e38e39u) >> 6) + add;
        memcpy(sums + (size_t)y * row_stride + (size_t)x * NR + j, &sum, sizeof sum);
      }
    }
  }
}

static const apus_qwinograd_ops ops = {.input = input, .weights = weights, .multiply = multiply, .output = output};

extern const apus_qgemm_kernel APUS_NAME(apus_qgemm, APUS_LEVEL);
extern const apus_qwinograd_kernel APUS_NAME(apus_qwinograd, APUS_LEVEL);
const apus_qwinograd_kernel APUS_NAME(apus_qwinograd, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .product = &APUS_NAME(apus_qgemm, APUS_LEVEL), .ops = &ops};
