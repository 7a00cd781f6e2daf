// Products of one row and a matrix that is used once and so not worth packing: attention of a single query.
#ifndef APUS_ROWPRODUCT_H
#define APUS_ROWPRODUCT_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// `a` has `rows` rows of n contiguous floats, `stride` floats apart. Nothing outside the given elements is touched; `y` is
/// disjoint from the inputs; unaligned is fine; nothing is allocated; callable from any thread. Each element of y is summed in
/// an order that depends on n and rows alone.
typedef struct apus_rowproduct_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  /// y[r] = sum over i < n of a[r * stride + i] * x[i], for r < rows; 0 where n is 0.
  void (*dot)(size_t rows, size_t n, const float *a, size_t stride, const float *x, float *y);
  /// y[i] = sum over r < rows of x[r] * a[r * stride + i], for i < n; 0 where rows is 0.
  void (*combine)(size_t rows, size_t n, const float *a, size_t stride, const float *x, float *y);
} apus_rowproduct_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_rowproduct_kernels *apus_rowproduct_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_rowproduct_kernels *apus_rowproduct_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
