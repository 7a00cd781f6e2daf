// Reductions of runs of elements and of the columns of a matrix, and the search for an element.
#ifndef APUS_REDUCE_H
#define APUS_REDUCE_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum apus_reduce_op {
  APUS_REDUCE_SUM,
  APUS_REDUCE_SUM_SQUARES,  ///< floats only
  APUS_REDUCE_SUM_ABSOLUTE, ///< floats only
  APUS_REDUCE_MAX,          ///< NaN if any is
  APUS_REDUCE_MIN,          ///< NaN if any is
  APUS_REDUCE_COUNT
} apus_reduce_op;

/// What the elements are. Sums of floats are accumulated in double, of integers in int64_t modulo 2^64; the 8-bit integers have
/// only maxima and minima, which are accumulated in the elements' own type.
typedef enum apus_number {
  APUS_NUMBER_F32,
  APUS_NUMBER_F64,
  APUS_NUMBER_I8,
  APUS_NUMBER_U8,
  APUS_NUMBER_I32,
  APUS_NUMBER_I64,
  APUS_NUMBER_COUNT
} apus_number;

/// total[r] joined with x[r * stride + i] for i < n, for each r < runs.
typedef void (*apus_reduce_runs_fn)(size_t runs, size_t n, const void *x, size_t stride, void *total);

/// total[c] joined with x[r * stride + c] for r < rows, for each c < n.
typedef void (*apus_reduce_columns_fn)(size_t rows, size_t n, const void *x, size_t stride, void *total);

/// The least i < n for which x[i] equals *value, which is not NaN; n where there is none.
typedef size_t (*apus_find_fn)(size_t n, const void *x, const void *value);

/// x and total are disjoint and aligned to their elements; nothing outside the given elements is touched; nothing is allocated;
/// callable from any thread. The order of a sum depends on n alone (a run) or on the order of rows (a column).
typedef struct apus_reduce_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  apus_reduce_runs_fn runs[APUS_REDUCE_COUNT][APUS_NUMBER_COUNT];
  apus_reduce_columns_fn columns[APUS_REDUCE_COUNT][APUS_NUMBER_COUNT];
  apus_find_fn find[APUS_NUMBER_COUNT];
} apus_reduce_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_reduce_kernels *apus_reduce_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_reduce_kernels *apus_reduce_select(uint32_t levels);

/// The function for an operation on numbers of a type; NULL where there is none.
apus_reduce_runs_fn apus_reduce_runs(const apus_reduce_kernels *kernels, apus_reduce_op op, apus_number number);
apus_reduce_columns_fn apus_reduce_columns(const apus_reduce_kernels *kernels, apus_reduce_op op, apus_number number);
apus_find_fn apus_reduce_find(const apus_reduce_kernels *kernels, apus_number number);

#ifdef __cplusplus
}
#endif
#endif
