// The kernels of one level, over vectors of 64 bytes that the compiler makes of the registers of the surrounding target.
#include "../cpu/table.h"
#include "../cpu/target.h"
#include "apus_reduce.h"

// Vectors are arguments of functions that are always inlined, so how wide a level passes them does not matter.
#pragma clang diagnostic ignored "-Wpsabi"

typedef uint64_t reduce_words __attribute__((vector_size(64)));

// Accumulators that are vectors: enough to hide the latency of an addition where there are registers for them.
#define WAYS REDUCE_WAYS

// A loop that is as fast as it need be: further copies of its body cost more memory than they save time.
#define PLAIN_LOOP _Pragma("clang loop vectorize(disable) unroll(disable)")

// MARK: How vectors and numbers are joined

// MASK has the bits of A where it is set, and those of B elsewhere.
#define CHOOSE(V, MASK, A, B) ((V)(((MASK) & (__typeof__(MASK))(A)) | (~(MASK) & (__typeof__(MASK))(B))))

#define VECTOR_ADD(V, a, x) ((a) + (x))
#define VECTOR_ADD_SQUARE(V, a, x) ((a) + (x) * (x))
#define VECTOR_ADD_ABSOLUTE(V, a, x) ((a) + (V)((reduce_words)(x) & ~((reduce_words){} + (UINT64_C(1) << 63))))
#define VECTOR_MAX(V, a, x) __builtin_elementwise_max(a, x)
#define VECTOR_MIN(V, a, x) __builtin_elementwise_min(a, x)
// Beside these the caller looks for NaN.
#define VECTOR_MAX_NUMBER(V, a, x) CHOOSE(V, (x) > (a), x, a)
#define VECTOR_MIN_NUMBER(V, a, x) CHOOSE(V, (x) < (a), x, a)
// NaN takes the place of a number, and no number that of NaN.
#define VECTOR_MAX_OR_NAN(V, a, x) CHOOSE(V, ((x) > (a)) | ((x) != (x)), x, a)
#define VECTOR_MIN_OR_NAN(V, a, x) CHOOSE(V, ((x) < (a)) | ((x) != (x)), x, a)

#define NUMBER_ADD(a, x) ((a) + (x))
#define NUMBER_ADD_SQUARE(a, x) ((a) + (x) * (x))
#define NUMBER_ADD_ABSOLUTE(a, x) ((a) + __builtin_fabs(x))
#define NUMBER_MAX(a, x) ((x) > (a) ? (x) : (a))
#define NUMBER_MIN(a, x) ((x) < (a) ? (x) : (a))
#define NUMBER_MAX_OR_NAN(a, x) ((x) > (a) || (x) != (x) ? (x) : (a))
#define NUMBER_MIN_OR_NAN(a, x) ((x) < (a) || (x) != (x) ? (x) : (a))

#define REDUCE_WORDS(v, ...) __builtin_shufflevector((reduce_words)(v), (reduce_words)(v), __VA_ARGS__)

// T: the elements; A: the accumulators, L of which fill a vector; STEP joins an accumulator and an element, MERGE two accumulators,
// WITHIN vectors of a run, beside which CHECKS_NAN says whether elements must be looked at for NaN.
#define DEFINE_REDUCTION(NAME, T, A, L, STEP, MERGE, WITHIN, CHECKS_NAN, IDENTITY)                                      \
  typedef T NAME##_elements __attribute__((vector_size(L * sizeof(T)), aligned(1), may_alias));                         \
  typedef A NAME##_vector __attribute__((vector_size(64)));                                                             \
  typedef A NAME##_totals __attribute__((vector_size(64), aligned(1), may_alias));                                      \
  APUS_INLINE NAME##_vector NAME##_load(const T *p) {                                                                   \
    return __builtin_convertvector(*(const NAME##_elements *)p, NAME##_vector);                                         \
  }                                                                                                                     \
  APUS_INLINE NAME##_vector NAME##_merge(NAME##_vector a, NAME##_vector x) {                                            \
    return VECTOR_##WITHIN(NAME##_vector, a, x);                                                                        \
  }                                                                                                                     \
  APUS_INLINE A NAME##_one(A a, A x) { return NUMBER_##STEP(a, x); }                                                    \
  static void NAME##_runs(size_t runs, size_t n, const void *elements, size_t stride, void *totals) {                   \
    const T *x = elements;                                                                                              \
    A *total = totals;                                                                                                  \
    PLAIN_LOOP                                                                                                          \
    for (size_t r = 0; r < runs; r++, x += stride) {                                                                    \
      A result = total[r];                                                                                              \
      size_t i = 0;                                                                                                     \
      if (n >= L) {                                                                                                     \
        NAME##_vector s[WAYS];                                                                                          \
        __typeof__(s[0] != s[0]) nan = {};                                                                              \
        for (int j = 0; j < WAYS; j++) s[j] = (NAME##_vector){} + (A)(IDENTITY);                                        \
        PLAIN_LOOP                                                                                                      \
        for (; i + WAYS * L <= n; i += WAYS * L) {                                                                      \
          for (int j = 0; j < WAYS; j++) {                                                                              \
            const NAME##_vector v = NAME##_load(x + i + j * L);                                                         \
            if (CHECKS_NAN) nan |= v != v;                                                                              \
            s[j] = CHECKS_NAN ? NAME##_merge(s[j], v) : VECTOR_##STEP(NAME##_vector, s[j], v);                          \
          }                                                                                                             \
        }                                                                                                               \
        PLAIN_LOOP                                                                                                      \
        for (; i + L <= n; i += L) {                                                                                    \
          const NAME##_vector v = NAME##_load(x + i);                                                                   \
          if (CHECKS_NAN) nan |= v != v;                                                                                \
          s[0] = CHECKS_NAN ? NAME##_merge(s[0], v) : VECTOR_##STEP(NAME##_vector, s[0], v);                            \
        }                                                                                                               \
        for (int j = 1; j < WAYS; j++) s[0] = NAME##_merge(s[0], s[j]);                                                 \
        NAME##_vector v = s[0];                                                                                         \
        v = NAME##_merge(v, (NAME##_vector)REDUCE_WORDS(v, 4, 5, 6, 7, 0, 1, 2, 3));                                    \
        v = NAME##_merge(v, (NAME##_vector)REDUCE_WORDS(v, 2, 3, 0, 1, 6, 7, 4, 5));                                    \
        v = NAME##_merge(v, (NAME##_vector)REDUCE_WORDS(v, 1, 0, 3, 2, 5, 4, 7, 6));                                    \
        if (sizeof(A) < 8) v = NAME##_merge(v, (NAME##_vector)((reduce_words)v >> 32 | (reduce_words)v << 32));         \
        if (sizeof(A) < 4) v = NAME##_merge(v, (NAME##_vector)((reduce_words)v >> 16 | (reduce_words)v << 48));         \
        if (sizeof(A) < 2) v = NAME##_merge(v, (NAME##_vector)((reduce_words)v >> 8 | (reduce_words)v << 56));          \
        result = NUMBER_##MERGE(result, v[0]);                                                                          \
        if (CHECKS_NAN && __builtin_reduce_or(nan)) result = (A)__builtin_nan("");                                      \
      }                                                                                                                 \
      PLAIN_LOOP                                                                                                        \
      for (; i < n; i++) result = NAME##_one(result, (A)x[i]);                                                          \
      total[r] = result;                                                                                                \
    }                                                                                                                   \
  }                                                                                                                     \
  APUS_INLINE void NAME##_strip(const int count, size_t rows, const T *x, size_t stride, A *total) {                    \
    NAME##_vector s[WAYS];                                                                                              \
    for (int j = 0; j < count; j++) s[j] = *(const NAME##_totals *)(total + j * L);                                     \
    PLAIN_LOOP                                                                                                          \
    for (size_t r = 0; r < rows; r++, x += stride) {                                                                    \
      for (int j = 0; j < count; j++) s[j] = VECTOR_##STEP(NAME##_vector, s[j], NAME##_load(x + j * L));                \
    }                                                                                                                   \
    for (int j = 0; j < count; j++) *(NAME##_totals *)(total + j * L) = s[j];                                           \
  }                                                                                                                     \
  static void NAME##_columns(size_t rows, size_t n, const void *elements, size_t stride, void *totals) {                \
    const T *x = elements;                                                                                              \
    A *total = totals;                                                                                                  \
    size_t c = 0;                                                                                                       \
    PLAIN_LOOP                                                                                                          \
    for (; c + WAYS * L <= n; c += WAYS * L) NAME##_strip(WAYS, rows, x + c, stride, total + c);                        \
    PLAIN_LOOP                                                                                                          \
    for (; c + L <= n; c += L) NAME##_strip(1, rows, x + c, stride, total + c);                                         \
    PLAIN_LOOP                                                                                                          \
    for (size_t r = 0; c < n && r < rows; r++) {                                                                        \
      PLAIN_LOOP                                                                                                        \
      for (size_t i = c; i < n; i++) total[i] = NAME##_one(total[i], (A)x[r * stride + i]);                             \
    }                                                                                                                   \
  }

DEFINE_REDUCTION(sum_f32, float, double, 8, ADD, ADD, ADD, 0, 0)
DEFINE_REDUCTION(sum_f64, double, double, 8, ADD, ADD, ADD, 0, 0)
DEFINE_REDUCTION(sum_i32, int32_t, uint64_t, 8, ADD, ADD, ADD, 0, 0)
DEFINE_REDUCTION(sum_i64, uint64_t, uint64_t, 8, ADD, ADD, ADD, 0, 0)
DEFINE_REDUCTION(squares_f32, float, double, 8, ADD_SQUARE, ADD, ADD, 0, 0)
DEFINE_REDUCTION(squares_f64, double, double, 8, ADD_SQUARE, ADD, ADD, 0, 0)
DEFINE_REDUCTION(absolute_f32, float, double, 8, ADD_ABSOLUTE, ADD, ADD, 0, 0)
DEFINE_REDUCTION(absolute_f64, double, double, 8, ADD_ABSOLUTE, ADD, ADD, 0, 0)
DEFINE_REDUCTION(max_f32, float, float, 16, MAX_OR_NAN, MAX_OR_NAN, MAX_NUMBER, 1, -__builtin_inff())
DEFINE_REDUCTION(min_f32, float, float, 16, MIN_OR_NAN, MIN_OR_NAN, MIN_NUMBER, 1, __builtin_inff())
DEFINE_REDUCTION(max_f64, double, double, 8, MAX_OR_NAN, MAX_OR_NAN, MAX_NUMBER, 1, -__builtin_inf())
DEFINE_REDUCTION(min_f64, double, double, 8, MIN_OR_NAN, MIN_OR_NAN, MIN_NUMBER, 1, __builtin_inf())
DEFINE_REDUCTION(max_i8, int8_t, int8_t, 64, MAX, MAX, MAX, 0, INT8_MIN)
DEFINE_REDUCTION(min_i8, int8_t, int8_t, 64, MIN, MIN, MIN, 0, INT8_MAX)
DEFINE_REDUCTION(max_u8, uint8_t, uint8_t, 64, MAX, MAX, MAX, 0, 0)
DEFINE_REDUCTION(min_u8, uint8_t, uint8_t, 64, MIN, MIN, MIN, 0, UINT8_MAX)
DEFINE_REDUCTION(max_i32, int32_t, int32_t, 16, MAX, MAX, MAX, 0, INT32_MIN)
DEFINE_REDUCTION(min_i32, int32_t, int32_t, 16, MIN, MIN, MIN, 0, INT32_MAX)
DEFINE_REDUCTION(max_i64, int64_t, int64_t, 8, MAX, MAX, MAX, 0, INT64_MIN)
DEFINE_REDUCTION(min_i64, int64_t, int64_t, 8, MIN, MIN, MIN, 0, INT64_MAX)

// MARK: Search

#define FIND_LANES 16
#define DEFINE_FIND(NAME, T)                                                                                            \
  typedef T find_##NAME##_vector __attribute__((vector_size(FIND_LANES * sizeof(T)), aligned(1), may_alias));           \
  static size_t find_##NAME(size_t n, const void *elements, const void *value) {                                        \
    const T *x = elements, wanted = *(const T *)value;                                                                  \
    size_t i = 0;                                                                                                       \
    PLAIN_LOOP                                                                                                          \
    for (; i + FIND_LANES <= n; i += FIND_LANES) {                                                                      \
      if (__builtin_reduce_or(*(const find_##NAME##_vector *)(x + i) == wanted)) break;                                 \
    }                                                                                                                   \
    PLAIN_LOOP                                                                                                          \
    while (i < n && x[i] != wanted) i++;                                                                                \
    return i;                                                                                                           \
  }

DEFINE_FIND(f32, float)
DEFINE_FIND(f64, double)
DEFINE_FIND(8, uint8_t)
DEFINE_FIND(32, uint32_t)
DEFINE_FIND(64, uint64_t)

// MARK: Table

#define FLOATS(NAME, FORM) [APUS_NUMBER_F32] = NAME##_f32_##FORM, [APUS_NUMBER_F64] = NAME##_f64_##FORM
#define WIDE(NAME, FORM) FLOATS(NAME, FORM), [APUS_NUMBER_I32] = NAME##_i32_##FORM, [APUS_NUMBER_I64] = NAME##_i64_##FORM
#define ALL(NAME, FORM) WIDE(NAME, FORM), [APUS_NUMBER_I8] = NAME##_i8_##FORM, [APUS_NUMBER_U8] = NAME##_u8_##FORM
#define REDUCTIONS(FORM)                                                                                                \
  {                                                                                                                     \
      [APUS_REDUCE_SUM] = {WIDE(sum, FORM)},                                                                            \
      [APUS_REDUCE_SUM_SQUARES] = {FLOATS(squares, FORM)},                                                              \
      [APUS_REDUCE_SUM_ABSOLUTE] = {FLOATS(absolute, FORM)},                                                            \
      [APUS_REDUCE_MAX] = {ALL(max, FORM)},                                                                             \
      [APUS_REDUCE_MIN] = {ALL(min, FORM)},                                                                             \
  }

extern const apus_reduce_kernels APUS_NAME(apus_reduce, APUS_LEVEL);
const apus_reduce_kernels APUS_NAME(apus_reduce, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .runs = REDUCTIONS(runs),
    .columns = REDUCTIONS(columns),
    .find = {[APUS_NUMBER_F32] = find_f32, [APUS_NUMBER_F64] = find_f64, [APUS_NUMBER_I8] = find_8,
             [APUS_NUMBER_U8] = find_8, [APUS_NUMBER_I32] = find_32, [APUS_NUMBER_I64] = find_64},
};
