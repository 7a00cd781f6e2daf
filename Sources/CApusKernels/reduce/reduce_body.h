// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "../simd/vec_rows.h"
#include "apus_reduce.h"

static float reduce_row_sum(size_t n, const float *x) { return (float)row_sum(n, x, 0.0f); }
static float reduce_row_sum_squares(size_t n, const float *x) { return (float)row_sum_squares(n, x, 0.0f); }
static float reduce_row_sum_absolute(size_t n, const float *x) { return (float)row_sum_absolute(n, x, 0.0f); }

#define DEFINE_ROW_FOLD(NAME, FOLD, IDENTITY, FOLD_ONE)                                    \
  static float reduce_row_##NAME(size_t n, const float *x) {                               \
    vf acc[ACCUMULATORS];                                                                  \
    vm nan = vm_none();                                                                    \
    for (int j = 0; j < ACCUMULATORS; j++) acc[j] = v_set1(IDENTITY);                      \
    size_t i = 0;                                                                          \
    for (; i + ACCUMULATORS * VW <= n; i += ACCUMULATORS * VW) {                           \
      for (int j = 0; j < ACCUMULATORS; j++) {                                             \
        const vf v = v_load(x + i + j * VW);                                               \
        nan = vm_or(nan, v_nan(v));                                                        \
        acc[j] = FOLD(acc[j], v);                                                          \
      }                                                                                    \
    }                                                                                      \
    for (int j = 0; i < n; i += VW, j++) {                                                 \
      const vf v = n - i < VW ? v_load_n_or(x + i, n - i, IDENTITY) : v_load(x + i);       \
      nan = vm_or(nan, v_nan(v));                                                          \
      acc[j] = FOLD(acc[j], v);                                                            \
    }                                                                                      \
    for (int j = 1; j < ACCUMULATORS; j++) acc[0] = FOLD(acc[0], acc[j]);                  \
    float lanes[VW], result = IDENTITY;                                                    \
    v_store(lanes, acc[0]);                                                                \
    for (int j = 0; j < VW; j++) result = FOLD_ONE(result, lanes[j]);                      \
    return vm_any(nan) ? __builtin_nanf("") : result;                                      \
  }

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define TIMES(a, b) ((a) * (b))
DEFINE_ROW_FOLD(max, v_max, -__builtin_inff(), LARGER)
DEFINE_ROW_FOLD(min, v_min, __builtin_inff(), SMALLER)
DEFINE_ROW_FOLD(product, v_mul, 1.0f, TIMES)

// A strip of columns at a time, its accumulators in registers; FINISH folds a block of rows into the total.
#define ROW_BLOCK 64
#define DEFINE_COLUMNS(NAME, FOLD, IDENTITY, FINISH)                                                                   \
  APUS_INLINE vf columns_##NAME##_strip(size_t rows, const float *x, size_t stride, size_t lanes, vf total) {          \
    for (size_t begin = 0; begin < rows; begin += ROW_BLOCK) {                                                         \
      const size_t end = rows - begin < ROW_BLOCK ? rows : begin + ROW_BLOCK;                                          \
      vf acc = v_set1(IDENTITY);                                                                                       \
      for (size_t r = begin; r < end; r++) {                                                                           \
        const vf v = lanes == VW ? v_load(x + r * stride) : v_load_n(x + r * stride, lanes);                           \
        acc = FOLD(acc, v);                                                                                            \
      }                                                                                                                \
      total = FINISH(total, acc);                                                                                      \
    }                                                                                                                  \
    return total;                                                                                                      \
  }                                                                                                                    \
  static void reduce_columns_##NAME(size_t rows, size_t n, const float *x, size_t stride, float *y, bool accumulate) { \
    const vf identity = v_set1(IDENTITY);                                                                              \
    size_t c = 0;                                                                                                      \
    for (; c + VW <= n; c += VW) {                                                                                     \
      v_store(y + c, columns_##NAME##_strip(rows, x + c, stride, VW, accumulate ? v_load(y + c) : identity));          \
    }                                                                                                                  \
    if (c < n) {                                                                                                       \
      const vf start = accumulate ? v_load_n(y + c, n - c) : identity;                                                 \
      v_store_n(y + c, n - c, columns_##NAME##_strip(rows, x + c, stride, n - c, start));                              \
    }                                                                                                                  \
  }

#define ADD_SQUARE(acc, v) v_fma(v, v, acc)
#define ADD_ABSOLUTE(acc, v) v_add(acc, v_abs(v))
#define MAX_OR_NAN(acc, v) v_select(v_nan(acc), acc, v_max(acc, v))
#define MIN_OR_NAN(acc, v) v_select(v_nan(acc), acc, v_min(acc, v))
DEFINE_COLUMNS(sum, v_add, 0.0f, v_add)
DEFINE_COLUMNS(sum_squares, ADD_SQUARE, 0.0f, v_add)
DEFINE_COLUMNS(sum_absolute, ADD_ABSOLUTE, 0.0f, v_add)
DEFINE_COLUMNS(max, MAX_OR_NAN, -__builtin_inff(), MAX_OR_NAN)
DEFINE_COLUMNS(min, MIN_OR_NAN, __builtin_inff(), MIN_OR_NAN)
DEFINE_COLUMNS(product, v_mul, 1.0f, v_mul)

extern const apus_reduce_kernels APUS_NAME(apus_reduce, APUS_LEVEL);
const apus_reduce_kernels APUS_NAME(apus_reduce, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .row = {reduce_row_sum, reduce_row_sum_squares, reduce_row_sum_absolute, reduce_row_max, reduce_row_min,
            reduce_row_product},
    .columns = {reduce_columns_sum, reduce_columns_sum_squares, reduce_columns_sum_absolute, reduce_columns_max,
                reduce_columns_min, reduce_columns_product},
};
