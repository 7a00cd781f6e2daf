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

extern const apus_rowproduct_kernels APUS_NAME(apus_rowproduct, APUS_LEVEL);
const apus_rowproduct_kernels APUS_NAME(apus_rowproduct, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .dot = rowproduct_dot,
    .combine = rowproduct_combine,
};
