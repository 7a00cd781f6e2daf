// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "apus_rowproduct.h"

#define ROWS_AT_ONCE 4
#define STRIPS_AT_ONCE 4

APUS_INLINE vf rowproduct_load(const float *p, size_t lanes) { return lanes == VW ? v_load(p) : v_load_n(p, lanes); }

/// `count` rows, each with a sum of its own, so that the additions of different rows overlap.
APUS_INLINE void rowproduct_dot_rows(const int count, size_t n, const float *a, size_t stride, const float *x, float *y) {
  vf sum[ROWS_AT_ONCE];
  for (int r = 0; r < count; r++) sum[r] = v_set1(0);
  for (size_t i = 0; i < n; i += VW) {
    const size_t lanes = n - i < VW ? n - i : VW;
    const vf right = rowproduct_load(x + i, lanes);
    for (int r = 0; r < count; r++) sum[r] = v_fma(rowproduct_load(a + (size_t)r * stride + i, lanes), right, sum[r]);
  }
  for (int r = 0; r < count; r++) y[r] = v_sum(sum[r]);
}

static void rowproduct_dot(size_t rows, size_t n, const float *a, size_t stride, const float *x, float *y) {
  size_t r = 0;
  for (; r + ROWS_AT_ONCE <= rows; r += ROWS_AT_ONCE) rowproduct_dot_rows(ROWS_AT_ONCE, n, a + r * stride, stride, x, y + r);
  for (; r < rows; r++) rowproduct_dot_rows(1, n, a + r * stride, stride, x, y + r);
}

/// A strip of `strips` vectors, the last one of `lanes` floats; its sums stay in registers over all rows.
APUS_INLINE void rowproduct_combine_strips(const int strips, size_t lanes, size_t rows, const float *a, size_t stride,
                                           const float *x, float *y) {
  vf even[STRIPS_AT_ONCE], odd[STRIPS_AT_ONCE];
  for (int s = 0; s < strips; s++) even[s] = odd[s] = v_set1(0);
  size_t r = 0;
  for (; r + 2 <= rows; r += 2) {
    const vf first = v_set1(x[r]), second = v_set1(x[r + 1]);
    for (int s = 0; s < strips; s++) {
      const size_t width = s == strips - 1 ? lanes : VW;
      even[s] = v_fma(first, rowproduct_load(a + r * stride + (size_t)s * VW, width), even[s]);
      odd[s] = v_fma(second, rowproduct_load(a + (r + 1) * stride + (size_t)s * VW, width), odd[s]);
    }
  }
  for (int s = 0; s < strips; s++) {
    const size_t width = s == strips - 1 ? lanes : VW;
    if (r < rows) even[s] = v_fma(v_set1(x[r]), rowproduct_load(a + r * stride + (size_t)s * VW, width), even[s]);
    const vf sum = v_add(even[s], odd[s]);
    if (width == VW) v_store(y + (size_t)s * VW, sum);
    else v_store_n(y + (size_t)s * VW, width, sum);
  }
}

static void rowproduct_combine(size_t rows, size_t n, const float *a, size_t stride, const float *x, float *y) {
  size_t i = 0;
  for (; i + STRIPS_AT_ONCE * VW <= n; i += STRIPS_AT_ONCE * VW)
    rowproduct_combine_strips(STRIPS_AT_ONCE, VW, rows, a + i, stride, x, y + i);
  for (; i + VW <= n; i += VW) rowproduct_combine_strips(1, VW, rows, a + i, stride, x, y + i);
  if (i < n) rowproduct_combine_strips(1, n - i, rows, a + i, stride, x, y + i);
}

// f16 numbers as floats, exactly. Where there is no instruction for it the exponent is moved into place and re-biased by a
// multiplication, which makes subnormals right, too.
APUS_INLINE vf rowproduct_f16(const uint16_t *p) {
#ifdef V_LOAD_F16
  return V_LOAD_F16(p);
#else
  const vi code = vi_load_u16(p);
  const vi magnitude = vi_shl(vi_and(code, vi_set1(0x7fff)), 13), sign = vi_shl(vi_and(code, vi_set1(0x8000)), 16);
  const vf scaled = v_mul(vi_float(magnitude), v_set1(0x1p112f));
  const vf special = vi_float(vi_or(magnitude, vi_set1(0x7f800000)));
  const vf number = v_select(v_le(v_set1(65536.0f), scaled), special, scaled);
  return vi_float(vi_or(v_bits(number), sign));
#endif
}

APUS_INLINE vf rowproduct_narrow_load(const uint16_t *p, bool is_bfloat) {
  return is_bfloat ? vi_float(vi_shl(vi_load_u16(p), 16)) : rowproduct_f16(p);
}

enum { NARROW_SUMS = 8, NARROW_AHEAD = 512 }; // vectors of sums at once; numbers of a panel that are asked for ahead of their use

/// `panels` panels, `vectors` vectors of each from the same column on; y has room for `columns` numbers of the last panel.
APUS_INLINE void rowproduct_narrow_strip(const apus_rowproduct_narrow_args *args, const int panels, const int vectors, bool is_bfloat,
                                         const uint16_t *b, float *y, size_t columns) {
  const size_t nr = args->nr, step = nr * args->k;
  const size_t pieces = args->k / args->k_block + (args->k % args->k_block != 0);
  const size_t length = pieces ? args->k / pieces : 0, longer = pieces ? args->k % pieces : 0;
  vf total[NARROW_SUMS];
  for (int s = 0; s < panels * vectors; s++) total[s] = v_set1(0);
  const float *x = args->x;
  for (size_t piece = 0; piece < pieces; piece++) {
    vf sum[NARROW_SUMS];
    for (int s = 0; s < panels * vectors; s++) sum[s] = v_set1(0);
    const size_t terms = length + (piece < longer);
    for (size_t i = 0; i < terms; i++, b += nr) {
      const vf left = v_set1(*x++);
      for (int p = 0; p < panels; p++) {
        __builtin_prefetch(b + (size_t)p * step + NARROW_AHEAD, 0, 2);
        for (int v = 0; v < vectors; v++)
          sum[p * vectors + v] = v_fma(left, rowproduct_narrow_load(b + (size_t)p * step + (size_t)v * VW, is_bfloat), sum[p * vectors + v]);
      }
    }
    for (int s = 0; s < panels * vectors; s++) total[s] = piece ? v_add(total[s], sum[s]) : sum[s];
  }
  for (int p = 0; p < panels; p++) {
    for (int v = 0; v < vectors; v++) {
      const size_t first = (size_t)v * VW, left = p < panels - 1 ? first + VW : columns;
      if (left <= first) break;
      if (left - first >= VW) v_store(y + (size_t)p * nr + first, total[p * vectors + v]);
      else v_store_n(y + (size_t)p * nr + first, left - first, total[p * vectors + v]);
    }
  }
}

APUS_INLINE void rowproduct_narrow_panels(const apus_rowproduct_narrow_args *args, const int vectors, bool is_bfloat) {
  const size_t nr = args->nr, step = nr * args->k;
  const int most = NARROW_SUMS / vectors;
  for (size_t j = 0; j < args->n;) {
    const size_t left = args->n - j;
    const bool is_wide = left > (size_t)(most - 1) * nr;
    const size_t panels = is_wide ? (size_t)most : 1, width = left < panels * nr ? left : panels * nr;
    // Columns of the last panel.
    const size_t columns = width - (panels - 1) * nr;
    for (size_t first = 0; first < nr; first += (size_t)vectors * VW) {
      const size_t own = columns > first ? columns - first : 0;
      const uint16_t *b = args->b + j / nr * step + first;
      if (is_wide) rowproduct_narrow_strip(args, most, vectors, is_bfloat, b, args->y + j + first, own);
      else rowproduct_narrow_strip(args, 1, vectors, is_bfloat, b, args->y + j + first, own);
    }
    j += width;
  }
}

static void rowproduct_narrow(const apus_rowproduct_narrow_args *args) {
  if (args->nr % (4 * VW) == 0) {
    if (args->is_bfloat) rowproduct_narrow_panels(args, 4, true);
    else rowproduct_narrow_panels(args, 4, false);
  } else if (args->is_bfloat) {
    rowproduct_narrow_panels(args, 2, true);
  } else {
    rowproduct_narrow_panels(args, 2, false);
  }
}

// MARK: Doubles

// Rows and vectors of a tile whose sums fit the registers, and doubles of a vector.
#define DOUBLE_ROWS (VW == 16 ? 8 : VW == 8 ? 6 : 4)
#define DOUBLE_VECTORS 2
#define DOUBLE_LANES (VW == 16 ? 8 : VW == 8 ? 4 : 2)
typedef double rowproduct_doubles_vector __attribute__((vector_size(DOUBLE_LANES * sizeof(double)), aligned(1), may_alias));

APUS_INLINE void rowproduct_tile(const int rows, const int vectors, size_t k, const double *a, size_t a_row,
                                 size_t a_column, const double *b, size_t b_row, double *c, size_t c_row) {
  rowproduct_doubles_vector sum[DOUBLE_ROWS][DOUBLE_VECTORS];
  for (int r = 0; r < rows; r++) {
    for (int v = 0; v < vectors; v++) sum[r][v] = (rowproduct_doubles_vector){0};
  }
  for (size_t p = 0; p < k; p++, a += a_column, b += b_row) {
    rowproduct_doubles_vector right[DOUBLE_VECTORS];
    for (int v = 0; v < vectors; v++) right[v] = *(const rowproduct_doubles_vector *)(b + v * DOUBLE_LANES);
    for (int r = 0; r < rows; r++) {
      for (int v = 0; v < vectors; v++) sum[r][v] += a[(size_t)r * a_row] * right[v];
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int v = 0; v < vectors; v++) *(rowproduct_doubles_vector *)(c + (size_t)r * c_row + v * DOUBLE_LANES) = sum[r][v];
  }
}

// The columns of `rows` rows: wide tiles, narrow tiles, single columns.
APUS_INLINE void rowproduct_tiles(const int rows, size_t n, size_t k, const double *a, size_t a_row, size_t a_column,
                                  const double *b, size_t b_row, double *c) {
  const size_t wide = DOUBLE_VECTORS * DOUBLE_LANES;
  size_t j = 0;
  for (; j + wide <= n; j += wide) rowproduct_tile(rows, DOUBLE_VECTORS, k, a, a_row, a_column, b + j, b_row, c + j, n);
  for (; j + DOUBLE_LANES <= n; j += DOUBLE_LANES) rowproduct_tile(rows, 1, k, a, a_row, a_column, b + j, b_row, c + j, n);
  for (; j < n; j++) {
    double sum[DOUBLE_ROWS] = {0};
    for (size_t p = 0; p < k; p++) {
      for (int r = 0; r < rows; r++) sum[r] += a[(size_t)r * a_row + p * a_column] * b[p * b_row + j];
    }
    for (int r = 0; r < rows; r++) c[(size_t)r * n + j] = sum[r];
  }
}

static void rowproduct_doubles(size_t m, size_t n, size_t k, const double *a, size_t a_row, size_t a_column,
                               const double *b, size_t b_row, double *c) {
  size_t i = 0;
  for (; i + DOUBLE_ROWS <= m; i += DOUBLE_ROWS) {
    rowproduct_tiles(DOUBLE_ROWS, n, k, a + i * a_row, a_row, a_column, b, b_row, c + i * n);
  }
  for (; i < m; i++) rowproduct_tiles(1, n, k, a + i * a_row, a_row, a_column, b, b_row, c + i * n);
}

extern const apus_rowproduct_kernels APUS_NAME(apus_rowproduct, APUS_LEVEL);
const apus_rowproduct_kernels APUS_NAME(apus_rowproduct, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .dot = rowproduct_dot,
    .combine = rowproduct_combine,
    .narrow = rowproduct_narrow,
    .doubles = rowproduct_doubles,
};
