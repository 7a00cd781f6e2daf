// The product of one level. The including file has included a vec_*.h, defines MR, NR, the type a_element of A as tiles read
// it, and
//
//     tile(rows, groups, a, a_stride, b, sums)
//
// which writes sums[r * NR + j] for `rows` (a constant after inlining) rows of A, `a_stride` elements apart, and one panel,
// over `groups` groups of four. It surrounds this with its target region.
//
// A level whose a_element is the byte itself can have its tiles read A where it lies. It defines READS_A and, instead,
//
//     tile(rows, is_narrow, flips, taps, groups, a, b, initial, sums, codes)
//
// for `taps` times `groups` groups, those of tap t and row r from a[t * MR + r] on, raised by 128 modulo 256 where `flips`; sums
// begin at initial[j]. `is_narrow` and `flips` are constants like `rows`; the former asks for the first NR / 2 columns only.
// Where it defines STORES_CODES, too, a tile writes what `codes` (qgemm_codes.h) asks for instead of the sums, unless that is
// NULL.
#include <stdbool.h>

#include "../cpu/table.h"
#include "../quantize/requantize.h"
#include "qgemm_codes.h"
#include "qgemm_ops.h"

#ifndef READS_A
#define READS_A 0
#endif
#ifndef STORES_CODES
#define STORES_CODES 0
#endif

// Panels that stay in the second-level cache while the rows pass by, and the most of them.
#define PANEL_BYTES ((size_t)256 * 1024)
enum { MOST_PANELS = 32 };

// Copies n elements, raised by 128 if they are signed, and adds them up.
APUS_INLINE uint32_t copy_elements(size_t n, const uint8_t *restrict from, uint8_t flip, a_element *restrict to) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    const uint8_t value = from[i] ^ flip;
    to[i] = value;
    sum += value;
  }
  return sum;
}

APUS_INLINE const uint8_t *tap_elements(const apus_qgemm_args *args, size_t row, size_t tap) {
  if (!args->a_table) return (const uint8_t *)args->a + row * args->a_row_stride;
  const ptrdiff_t offset = args->a_table[row * args->taps + tap];
  return offset == APUS_PADDING_TAP ? (const uint8_t *)args->a_padding : (const uint8_t *)args->a + offset;
}

// One row of A into the workspace: taps one after the other, zeros up to the depth. Gives its sum.
static uint32_t pack_row(const apus_qgemm_args *args, size_t row, size_t depth, a_element *to) {
  const uint8_t flip = args->a_is_signed ? 0x80 : 0;
  const size_t k = args->k, length = k * args->taps;
  uint32_t sum = 0;
  if (args->a_table || args->a_k_stride == 1) {
    // Taps that follow one another in memory are copied as one.
    size_t begin = 0;
    while (begin < args->taps) {
      const uint8_t *from = tap_elements(args, row, begin);
      size_t end = begin + 1;
      while (end < args->taps && tap_elements(args, row, end) == from + (end - begin) * k) end++;
      sum += copy_elements((end - begin) * k, from, flip, to + begin * k);
      begin = end;
    }
  } else {
    const uint8_t *a = (const uint8_t *)args->a + row * args->a_row_stride;
    for (size_t i = 0; i < length; i++) {
      const uint8_t value = a[i * args->a_k_stride] ^ flip;
      to[i] = value;
      sum += value;
    }
  }
  for (size_t i = length; i < depth; i++) to[i] = 0;
  return sum;
}

APUS_INLINE uint32_t sum_elements(size_t n, const uint8_t *from, uint8_t flip) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++) sum += (uint8_t)(from[i] ^ flip);
  return sum;
}

APUS_INLINE vi load_ints(const int32_t *p, size_t lanes) {
  if (lanes == VW) return vi_load(p);
  int32_t some[VW] = {0};
  memcpy(some, p, lanes * sizeof *p);
  return vi_load(some);
}

APUS_INLINE vf load_floats(const float *p, size_t lanes) { return lanes == VW ? v_load(p) : v_load_n(p, lanes); }

// What the zero points of one tile make of its sums. With A' = A + 128 where A is signed and B' = B - 128 where B is not, and zero
// points alike, the sum of (A - za)(B - zb) is  A'B' - za (sum(B') - depth zb) - zb sum(A').
typedef struct {
  const apus_qgemm_args *args;
  size_t row, rows, column, columns;
  const int32_t *column_sums;
  const uint32_t *row_sums; // NULL: no column has a zb
  uint32_t a_shift, b_shift;
} tile_place;

APUS_INLINE vi b_zero_points(const tile_place *place, size_t j, size_t lanes) {
  const apus_qgemm_args *args = place->args;
  if (!args->b_zero_points) return vi_set1((int32_t)((uint32_t)args->b_zero_point - place->b_shift));
  return vi_sub(load_ints(args->b_zero_points + place->column + j, lanes), vi_set1((int32_t)place->b_shift));
}

// sum(B') - depth zb
APUS_INLINE vi b_terms(const tile_place *place, size_t j, size_t lanes) {
  const vi sums = vi_load(place->column_sums + j);
  if (!place->row_sums) return sums;
  const uint32_t length = (uint32_t)(place->args->k * place->args->taps);
  return vi_sub(sums, vi_mul(vi_set1((int32_t)length), b_zero_points(place, j, lanes)));
}

APUS_INLINE void place_panel(tile_place *place, size_t column, size_t panel_size, size_t depth) {
  const size_t left = place->args->n - column;
  place->column = column;
  place->columns = left < NR ? left : NR;
  place->column_sums = (const int32_t *)(const void *)((const int8_t *)place->args->b + column / NR * panel_size + NR * depth);
}

// What is the same in every row.
static void begin_panel(const tile_place *place, int32_t *initial) {
  const apus_qgemm_args *args = place->args;
  for (size_t j = 0; j < NR; j += VW) {
    vi s = vi_set1(0);
    if (j < place->columns) {
      const size_t lanes = place->columns - j < VW ? place->columns - j : VW;
      if (args->sum_bias) s = load_ints(args->sum_bias + place->column + j, lanes);
      if (!args->a_zero_points) {
        const vi a_zero = vi_set1((int32_t)((uint32_t)args->a_zero_point + place->a_shift));
        s = vi_sub(s, vi_mul(a_zero, b_terms(place, j, lanes)));
      }
    }
    vi_store(initial + j, s);
  }
}

// What differs from row to row, and the output. `corrects`: whether anything does.
APUS_INLINE void finish_tile(const tile_place *place, const int32_t *sums, apus_qgemm_output output, bool corrects) {
  const apus_qgemm_args *args = place->args;
  const vf low = v_set1((float)(args->low - args->zero_point)), high = v_set1((float)(args->high - args->zero_point));
  const vi zero_point = vi_set1(args->zero_point);
  for (size_t j = 0; j < place->columns; j += VW) {
    const size_t lanes = place->columns - j < VW ? place->columns - j : VW, c = place->column + j;
    vi b_zero = vi_set1(0), b_term = vi_set1(0);
    if (corrects && place->row_sums) b_zero = b_zero_points(place, j, lanes);
    if (corrects && args->a_zero_points) b_term = b_terms(place, j, lanes);
    vf scale = v_set1(args->scale), bias = v_set1(0.0f);
    if (output != APUS_QGEMM_S32 && args->scales) scale = load_floats(args->scales + c, lanes);
    if (output == APUS_QGEMM_F32 && args->bias) bias = load_floats(args->bias + c, lanes);
    for (size_t r = 0; r < place->rows; r++) {
      vi s = vi_load(sums + r * NR + j);
      if (corrects && place->row_sums) s = vi_sub(s, vi_mul(b_zero, vi_set1((int32_t)place->row_sums[r])));
      if (corrects && args->a_zero_points) {
        const uint32_t a_zero = (uint32_t)args->a_zero_points[place->row + r] + place->a_shift;
        s = vi_sub(s, vi_mul(vi_set1((int32_t)a_zero), b_term));
      }
      const size_t at = (place->row + r) * args->c_stride + c;
      if (output == APUS_QGEMM_S32) {
        int32_t *to = (int32_t *)args->c + at, some[VW];
        if (args->accumulate) s = vi_add(s, load_ints(to, lanes));
        vi_store(lanes == VW ? to : some, s);
        if (lanes < VW) memcpy(to, some, lanes * sizeof *to);
      } else if (output == APUS_QGEMM_F32) {
        vf v = v_mul(vi_to_float(s), scale);
        if (args->row_scale) v = v_mul(v, v_set1(args->row_scale[place->row + r]));
        if (args->bias) v = v_add(v, bias);
        float *to = (float *)args->c + at;
        if (args->accumulate) v = v_add(v, load_floats(to, lanes));
        if (lanes == VW) v_store(to, v);
        else v_store_n(to, lanes, v);
      } else {
        uint8_t *to = (uint8_t *)args->c + at, some[VW];
        vi_store_low8(lanes == VW ? to : some, v_requantize(s, scale, zero_point, low, high));
        if (lanes < VW) memcpy(to, some, lanes);
      }
    }
  }
}

static void finish(const tile_place *place, const int32_t *sums) {
  const bool corrects = place->row_sums || place->args->a_zero_points;
  switch (place->args->output) {
  case APUS_QGEMM_S32: finish_tile(place, sums, APUS_QGEMM_S32, true); break;
  case APUS_QGEMM_F32:
    if (corrects) finish_tile(place, sums, APUS_QGEMM_F32, true);
    else finish_tile(place, sums, APUS_QGEMM_F32, false);
    break;
  default:
    if (corrects) finish_tile(place, sums, APUS_QGEMM_Q8, true);
    else finish_tile(place, sums, APUS_QGEMM_Q8, false);
  }
}

// The same products for each number of rows, columns and kind of A that is worth code of its own.
typedef void (*tile_fn)(size_t taps, size_t groups, const a_element *const *a, const int8_t *b, const int32_t *initial,
                        int32_t *sums, const tile_codes *codes);
#if READS_A
#define TILE(COUNT, NARROW, FLIPS)                                                                                 \
  static void tile_##COUNT##NARROW##FLIPS(size_t taps, size_t groups, const a_element *const *a, const int8_t *b, \
                                          const int32_t *initial, int32_t *sums, const tile_codes *codes) {        \
    tile(COUNT, NARROW, FLIPS, taps, groups, a, b, initial, sums, codes);                                          \
  }
#define TILES(COUNT) TILE(COUNT, 0, 0) TILE(COUNT, 1, 0) TILE(COUNT, 0, 1)
#define ENTRY(COUNT) {tile_##COUNT##00, tile_##COUNT##10, tile_##COUNT##01}
#else
// The rows lie in the workspace, one after the other.
#define TILES(COUNT)                                                                                        \
  static void tile_##COUNT(size_t taps, size_t groups, const a_element *const *a, const int8_t *b,          \
                           const int32_t *initial, int32_t *sums, const tile_codes *codes) {                \
    (void)taps, (void)codes;                                                                                \
    tile(COUNT, groups, a[0], 4 * groups, b, sums);                                                         \
    for (int r = 0; r < COUNT; r++)                                                                         \
      for (int j = 0; j < NR; j += VW)                                                                      \
        vi_store(sums + r * NR + j, vi_add(vi_load(sums + r * NR + j), vi_load(initial + j)));              \
  }
#define ENTRY(COUNT) {tile_##COUNT, tile_##COUNT, tile_##COUNT}
#endif

TILES(1) TILES(2) TILES(3) TILES(4)
#if MR > 4
TILES(5) TILES(6)
#endif
#if MR > 6
TILES(7) TILES(8)
#endif

static const tile_fn tiles[MR][3] = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4),
#if MR > 4
    ENTRY(5), ENTRY(6),
#endif
#if MR > 6
    ENTRY(7), ENTRY(8),
#endif
};

static bool has_b_zero_points(const apus_qgemm_args *args, size_t n_begin, size_t n_end) {
  const int32_t shift = args->b_is_signed ? 0 : 128;
  if (!args->b_zero_points) return args->b_zero_point != shift;
  for (size_t n = n_begin; n < n_end; n++)
    if (args->b_zero_points[n] != shift) return true;
  return false;
}

// Whether tiles may requantise these columns themselves.
static bool may_store_codes(const apus_qgemm_args *args, size_t n_begin, size_t n_end) {
  const bool is_byte = (args->low == 0 && args->high == 255) || (args->low == -128 && args->high == 127);
  if (!STORES_CODES || args->output != APUS_QGEMM_Q8 || !is_byte || args->a_zero_points) return false;
  if (args->zero_point < args->low || args->zero_point > args->high) return false;
  if (!args->scales) return !(args->scale >= 1 || args->scale <= -1);
  bool is_large = false;
  for (size_t n = n_begin; n < n_end; n++) is_large |= args->scales[n] >= 1 || args->scales[n] <= -1;
  return !is_large;
}

// The destination of a tile; numbers for whole panels go to `scales` and `zero_points` where they have to be put together.
APUS_INLINE tile_codes codes_of(const tile_place *place, float *scales, int32_t *zero_points) {
  const apus_qgemm_args *args = place->args;
  tile_codes codes = {.to = (uint8_t *)args->c + place->row * args->c_stride + place->column, .stride = args->c_stride,
                      .columns = place->columns, .scales = scales, .zero_point = args->zero_point,
                      .is_signed = args->low < 0, .row_sums = place->row_sums, .b_zero_points = zero_points};
  if (args->scales) {
    if (place->columns == NR) codes.scales = args->scales + place->column;
    else memcpy(scales, args->scales + place->column, place->columns * sizeof *scales);
  }
  if (place->row_sums) {
    for (size_t j = 0; j < place->columns; j += VW)
      vi_store(zero_points + j, b_zero_points(place, j, place->columns - j < VW ? place->columns - j : VW));
  }
  return codes;
}

static void run(const apus_qgemm_args *args, size_t m_begin, size_t m_end, size_t n_begin, size_t n_end,
                void *workspace) {
  const size_t depth = apus_qgemm_depth(args->taps, args->k), panel_size = apus_qgemm_panel_size(NR, depth);
  const size_t fitting = PANEL_BYTES / panel_size ? PANEL_BYTES / panel_size : 1;
  const size_t block = (fitting < MOST_PANELS ? fitting : MOST_PANELS) * NR;
  const bool is_direct = READS_A && args->k % 4 == 0 && (args->a_table || args->a_k_stride == 1);
  const size_t taps = is_direct ? args->taps : 1, groups = is_direct ? args->k / 4 : depth / 4;
  const bool needs_row_sums = has_b_zero_points(args, n_begin, n_end);
  const uint8_t flip = args->a_is_signed ? 0x80 : 0;
  const a_element **pointers = workspace;
  a_element *packed = (a_element *)(void *)((char *)workspace + apus_qgemm_pointers_size(MR, args->taps));
  const bool stores_codes = may_store_codes(args, n_begin, n_end);
  _Alignas(64) int32_t sums[MR * NR], initials[MOST_PANELS * NR], zero_points[NR] = {0};
  _Alignas(64) float scales[NR];
  for (size_t j = 0; j < NR; j++) scales[j] = args->scale;
  uint32_t row_sums[MR];
  tile_place place = {.args = args, .row_sums = needs_row_sums ? row_sums : NULL,
                      .a_shift = args->a_is_signed ? 128 : 0, .b_shift = args->b_is_signed ? 0 : 128};
  for (size_t n0 = n_begin; n0 < n_end; n0 += n_end - n0 < block ? n_end - n0 : block) {
    const size_t n1 = n_end - n0 < block ? n_end : n0 + block;
    for (size_t n = n0; n < n1; n += NR) {
      place_panel(&place, n, panel_size, depth);
      begin_panel(&place, initials + (n - n0));
    }
    for (size_t m = m_begin; m < m_end; m += place.rows) {
      // Tiles of about equal height: a low one takes as long for each group as a full one.
      const size_t left = (m_end - m + MR - 1) / MR;
      place.row = m;
      place.rows = (m_end - m + left - 1) / left;
      for (size_t r = 0; r < place.rows; r++) {
        if (is_direct) {
          uint32_t sum = 0;
          for (size_t t = 0; t < taps; t++) {
            const uint8_t *elements = tap_elements(args, m + r, t);
            pointers[t * MR + r] = (const a_element *)(const void *)elements;
            if (needs_row_sums) sum += sum_elements(args->k, elements, flip);
          }
          row_sums[r] = sum;
        } else {
          row_sums[r] = pack_row(args, m + r, depth, packed + r * depth);
          pointers[r] = packed + r * depth;
        }
      }
      for (size_t n = n0; n < n1; n += NR) {
        const int8_t *panel = (const int8_t *)args->b + n / NR * panel_size;
        const int32_t *initial = initials + (n - n0);
        place_panel(&place, n, panel_size, depth);
        const int form = is_direct && flip ? 2 : place.columns <= NR / 2 ? 1 : 0;
        if (stores_codes) {
          const tile_codes codes = codes_of(&place, scales, zero_points);
          tiles[place.rows - 1][form](taps, groups, pointers, panel, initial, sums, &codes);
        } else {
          tiles[place.rows - 1][form](taps, groups, pointers, panel, initial, sums, NULL);
          finish(&place, sums);
        }
      }
    }
  }
}

static void finish_sums(const apus_qgemm_args *args, size_t row, size_t rows, size_t column, const int32_t *sums) {
  const size_t left = args->n - column;
  tile_place place = {.args = args, .row = row, .rows = rows, .column = column, .columns = left < NR ? left : NR};
#if STORES_CODES
  if (may_store_codes(args, column, column + place.columns)) {
    _Alignas(64) float scales[NR];
    for (size_t j = 0; j < NR; j++) scales[j] = args->scale;
    tile_codes codes = codes_of(&place, scales, NULL);
    for (size_t r = 0; r < rows; r += 2, codes.to += 2 * codes.stride) {
      vi first[2], second[2];
      for (size_t i = 0; i < 2; i++) {
        const int32_t *from = sums + (r + i < rows ? r + i : r) * NR;
        first[i] = vi_load(from), second[i] = vi_load(from + VW);
      }
      if (rows - r == 1) store_codes(1, 0, first, second, &codes);
      else store_codes(2, 0, first, second, &codes);
    }
    return;
  }
#endif
  finish(&place, sums);
}

static const apus_qgemm_ops ops = {.a_element = sizeof(a_element), .run = run, .finish = finish_sums};

extern const apus_qgemm_kernel APUS_NAME(apus_qgemm, APUS_LEVEL);
const apus_qgemm_kernel APUS_NAME(apus_qgemm, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .mr = MR, .nr = NR, .ops = &ops};
