// The kernels of one level. The including file has included a vec_*.h, defines MR, the rows of A in a tile, and
//
//     dot(sum, codes, a, bits)    sum + the four u8 of each lane of `codes` times the four s8 of each lane of `a`; codes are below 2^bits
//
// A panel has two vectors of columns. In it, a block's codes lie in words of 32 bits, 2 VW of them (one for each column) one after
// the other: the element g * 4 + i of column j is byte i of word j, each byte holding the elements of 8 / bits groups g, the
// first in its lowest bits.
#include <string.h>

#include "../cpu/table.h"
#include "apus_qblocks.h"

#define NR (2 * VW)
#define PANEL_BYTES ((size_t)256 * 1024)

// One tile: `rows` rows from a on, a panel's columns.
APUS_INLINE void tile(const apus_qblocks_shape *shape, const apus_qblocks_args *args, const uint8_t *panel, size_t row, size_t column,
                      int rows, int bits) {
  const size_t depth = shape->blocks * shape->block_size, words = shape->block_size * (size_t)bits / 32;
  const int per_word = 8 / bits;
  const vi mask = vi_set1((int32_t)(0x01010101u * ((1u << bits) - 1u)));
  const int8_t *a = args->a + row * depth;
  const float *a_scales = args->a_scales + row * shape->blocks;
  const int32_t *a_sums = args->a_sums + row * shape->blocks;
  vf total[MR][2];
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++) total[r][0] = total[r][1] = v_set1(0.0f);
  for (size_t b = 0; b < shape->blocks; b++) {
    vi sum[MR][2];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      const int32_t middle = shape->has_zero_points ? 0 : 1 << (bits - 1);
      sum[r][0] = sum[r][1] = vi_set1((int32_t)(0u - (uint32_t)middle * (uint32_t)a_sums[(size_t)r * shape->blocks + b]));
    }
    for (size_t word = 0; word < words; word++, panel += 4 * NR) {
      const vi left = vi_load((const int32_t *)(const void *)panel), right = vi_load((const int32_t *)(const void *)panel + VW);
#pragma clang loop unroll(full)
      for (int part = 0; part < per_word; part++) {
        const vi first = bits == 8 ? left : vi_and(vi_shr(left, bits * part), mask);
        const vi second = bits == 8 ? right : vi_and(vi_shr(right, bits * part), mask);
        const int8_t *from = a + b * shape->block_size + (word * (size_t)per_word + (size_t)part) * 4;
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++) {
          int32_t four;
          memcpy(&four, from + (size_t)r * depth, sizeof four);
          sum[r][0] = dot(sum[r][0], first, vi_set1(four), bits);
          sum[r][1] = dot(sum[r][1], second, vi_set1(four), bits);
        }
      }
    }
    const float *scales = (const float *)(const void *)panel;
    panel += NR * sizeof(float);
    const vf scale[2] = {v_load(scales), v_load(scales + VW)};
    vf zero[2] = {v_set1(0.0f), v_set1(0.0f)};
    if (shape->has_zero_points) {
      zero[0] = v_load((const float *)(const void *)panel), zero[1] = v_load((const float *)(const void *)panel + VW);
      panel += NR * sizeof(float);
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      const vf a_scale = v_set1(a_scales[(size_t)r * shape->blocks + b]);
#pragma clang loop unroll(full)
      for (int h = 0; h < 2; h++) {
        vf value = vi_to_float(sum[r][h]);
        if (shape->has_zero_points) value = v_fnma(zero[h], v_set1((float)a_sums[(size_t)r * shape->blocks + b]), value);
        total[r][h] = v_fma(v_mul(value, scale[h]), a_scale, total[r][h]);
      }
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++) {
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
      const size_t first = column + (size_t)h * VW;
      if (first >= shape->n) continue;
      const size_t lanes = shape->n - first < VW ? shape->n - first : VW;
      vf value = total[r][h];
      if (args->bias) value = v_add(value, v_load_n(args->bias + first, lanes));
      float *to = args->c + (row + (size_t)r) * args->c_stride + first;
      if (lanes == VW) v_store(to, value);
      else v_store_n(to, lanes, value);
    }
  }
}

#define TILE(COUNT, BITS)                                                                                               \
  static void tile_##COUNT##_##BITS(const apus_qblocks_shape *shape, const apus_qblocks_args *args, const uint8_t *panel, \
                                    size_t row, size_t column) {                                                        \
    tile(shape, args, panel, row, column, COUNT, BITS);                                                                 \
  }
#define TILES(BITS) TILE(1, BITS) TILE(2, BITS) TILE(3, BITS) TILE(4, BITS)
TILES(2) TILES(4) TILES(8)
#define ENTRIES(BITS) tile_1_##BITS, tile_2_##BITS, tile_3_##BITS, tile_4_##BITS
#if MR > 4
#define MORE(BITS) TILE(5, BITS) TILE(6, BITS)
MORE(2) MORE(4) MORE(8)
#define MORE_ENTRIES(BITS) , tile_5_##BITS, tile_6_##BITS
#else
#define MORE_ENTRIES(BITS)
#endif

static void (*const tiles[3][MR])(const apus_qblocks_shape *, const apus_qblocks_args *, const uint8_t *, size_t, size_t) = {
    {ENTRIES(2) MORE_ENTRIES(2)}, {ENTRIES(4) MORE_ENTRIES(4)}, {ENTRIES(8) MORE_ENTRIES(8)}};

static void run(const apus_qblocks_shape *shape, const apus_qblocks_args *args, size_t panel_begin, size_t panel_end) {
  const size_t size = apus_qblocks_panel_size(&APUS_NAME(apus_qblocks, APUS_LEVEL), shape);
  const int form = shape->bits == 2 ? 0 : shape->bits == 4 ? 1 : 2;
  // Some panels at a time, which stay in the second-level cache: rows of C are then written in longer pieces.
  const size_t block = PANEL_BYTES / size ? PANEL_BYTES / size : 1;
  for (size_t first = panel_begin; first < panel_end; first += block) {
    const size_t end = panel_end - first < block ? panel_end : first + block;
    size_t rows;
    for (size_t row = 0; row < args->m; row += rows) {
      // Tiles of about equal height.
      const size_t left = (args->m - row + MR - 1) / MR;
      rows = (args->m - row + left - 1) / left;
      for (size_t p = first; p < end; p++) tiles[form][rows - 1](shape, args, (const uint8_t *)args->b + p * size, row, p * NR);
    }
  }
}

static void quantize(const apus_qblocks_shape *shape, const float *x, int8_t *a, float *scales, int32_t *sums) {
  for (size_t b = 0; b < shape->blocks; b++) {
    const size_t first = b * shape->block_size;
    const size_t count = shape->k - first < shape->block_size ? shape->k - first : shape->block_size;
    vf largest = v_set1(0.0f);
    vm nan = vm_none();
    for (size_t i = 0; i < count; i += VW) {
      const vf value = count - i < VW ? v_load_n(x + first + i, count - i) : v_load(x + first + i);
      nan = vm_or(nan, v_nan(value));
      largest = v_max(largest, v_abs(value));
    }
    const float most = vm_any(nan) ? __builtin_nanf("") : v_hmax(largest), scale = most / 127.0f;
    // A block of zeros, or of numbers so small that the quotient vanishes or the inverse overflows.
    const float inverse = most > 0x1p-120f ? 127.0f / most : 0.0f;
    vi sum = vi_set1(0);
    for (size_t i = 0; i < shape->block_size; i += VW) {
      const size_t lanes = i >= count ? 0 : count - i < VW ? count - i : VW;
      const vf value = lanes == VW ? v_load(x + first + i) : v_load_n(x + first + i, lanes);
      const vi code = v_to_int(v_mul(value, v_set1(inverse)));
      sum = vi_add(sum, code);
      vi_store_low8((uint8_t *)a + first + i, code);
    }
    int32_t some[VW];
    uint32_t all = 0;
    vi_store(some, sum);
    for (int i = 0; i < VW; i++) all += (uint32_t)some[i];
    scales[b] = scale;
    sums[b] = (int32_t)all;
  }
}

const apus_qblocks_kernels APUS_NAME(apus_qblocks, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .nr = NR, .quantize = quantize, .run = run};
