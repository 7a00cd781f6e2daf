// Reductions of contiguous rows, and of the columns of a matrix.
#ifndef APUS_REDUCE_H
#define APUS_REDUCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum apus_reduce_op {
  APUS_REDUCE_SUM,          ///< of nothing: 0
  APUS_REDUCE_SUM_SQUARES,  ///< of nothing: 0
  APUS_REDUCE_SUM_ABSOLUTE, ///< of nothing: 0
  APUS_REDUCE_MAX,          ///< of nothing: -infinity; NaN if any is
  APUS_REDUCE_MIN,          ///< of nothing: +infinity; NaN if any is
  APUS_REDUCE_PRODUCT,      ///< of nothing: 1
  APUS_REDUCE_COUNT
} apus_reduce_op;

/// The reduction of n floats. Sums run over several accumulators, in blocks whose totals are added in double: the error
/// stays below 2^-17 of the sum of the absolute terms for any n, and is near 2^-24 of it as a rule. The order depends on
/// n alone.
typedef float (*apus_reduce_row_fn)(size_t n, const float *x);

/// y[c] = op over r of x[r * stride + c], for c < n; combined with what y[c] held where `accumulate`. x and y are
/// disjoint. Sums add blocks of 64 rows before they reach the total, so that long columns stay accurate.
typedef void (*apus_reduce_columns_fn)(size_t rows, size_t n, const float *x, size_t stride, float *y, bool accumulate);

/// Nothing outside the given elements is touched; unaligned is fine; nothing is allocated; callable from any thread.
typedef struct apus_reduce_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  apus_reduce_row_fn row[APUS_REDUCE_COUNT];
  apus_reduce_columns_fn columns[APUS_REDUCE_COUNT];
} apus_reduce_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_reduce_kernels *apus_reduce_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_reduce_kernels *apus_reduce_select(uint32_t levels);

/// The function for an operation; NULL for a number that is none.
apus_reduce_row_fn apus_reduce_row(const apus_reduce_kernels *kernels, apus_reduce_op op);
apus_reduce_columns_fn apus_reduce_columns(const apus_reduce_kernels *kernels, apus_reduce_op op);

#ifdef __cplusplus
}
#endif
#endif
