// Reductions of contiguous rows, over the vectors of whichever vec_*.h was included before, inside its target region.
//
// Sums run over several accumulators and in blocks whose totals are added in double, so that the error does not grow
// with the length of the row. The order depends on the length alone.
#ifndef APUS_VEC_ROWS_H
#define APUS_VEC_ROWS_H

// Independent accumulators: enough to hide the latency of an addition, or, in plain C, for the compiler to make vectors.
#define ACCUMULATORS (VW == 1 ? 16 : 4)
#define SUM_BLOCK 8192

// Defines double NAME(n, x, c): the sum of TERM, an expression in the vector v and the parameter c, for which a lane
// beyond the end, read as FILL, gives 0.
#define DEFINE_ROW_SUM(NAME, TERM, FILL)                                                           \
  APUS_INLINE double NAME(size_t n, const float *x, float parameter) {                             \
    const vf c = v_set1(parameter);                                                                \
    (void)c;                                                                                       \
    double total = 0;                                                                              \
    for (size_t begin = 0; begin < n; begin += SUM_BLOCK) {                                        \
      const size_t end = n - begin < SUM_BLOCK ? n : begin + SUM_BLOCK;                            \
      vf sum[ACCUMULATORS];                                                                        \
      for (int j = 0; j < ACCUMULATORS; j++) sum[j] = v_set1(0.0f);                                \
      size_t i = begin;                                                                            \
      for (; i + ACCUMULATORS * VW <= end; i += ACCUMULATORS * VW) {                               \
        for (int j = 0; j < ACCUMULATORS; j++) {                                                   \
          const vf v = v_load(x + i + j * VW);                                                     \
          sum[j] = TERM(sum[j]);                                                                   \
        }                                                                                          \
      }                                                                                            \
      for (int j = 0; i + VW <= end; i += VW, j++) {                                               \
        const vf v = v_load(x + i);                                                                \
        sum[j] = TERM(sum[j]);                                                                     \
      }                                                                                            \
      if (i < end) {                                                                               \
        const vf v = v_load_n_or(x + i, end - i, FILL);                                            \
        sum[ACCUMULATORS - 1] = TERM(sum[ACCUMULATORS - 1]);                                       \
      }                                                                                            \
      for (int width = ACCUMULATORS / 2; width > 0; width /= 2) {                                  \
        for (int j = 0; j < width; j++) sum[j] = v_add(sum[j], sum[j + width]);                    \
      }                                                                                            \
      total += v_sum(sum[0]);                                                                      \
    }                                                                                              \
    return total;                                                                                  \
  }

#define TERM_VALUE(sum) v_add(sum, v)
#define TERM_ABSOLUTE(sum) v_add(sum, v_abs(v))
#define TERM_SQUARE(sum) v_fma(v, v, sum)
#define TERM_SQUARED_DISTANCE(sum) v_fma(v_sub(v, c), v_sub(v, c), sum)

DEFINE_ROW_SUM(row_sum, TERM_VALUE, 0.0f)
DEFINE_ROW_SUM(row_sum_absolute, TERM_ABSOLUTE, 0.0f)
DEFINE_ROW_SUM(row_sum_squares, TERM_SQUARE, 0.0f)
DEFINE_ROW_SUM(row_sum_squared_distances, TERM_SQUARED_DISTANCE, parameter)

#endif
