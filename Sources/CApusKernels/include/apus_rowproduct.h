// Products without packing: of one row and a matrix that is used once, as in attention of a single query; of one row and weights of
// 16 bits, which are widened in registers; and of doubles.
#ifndef APUS_ROWPRODUCT_H
#define APUS_ROWPRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// y[j] = sum over i < k of x[i] * B[i][j], for j < n; 0 where k is 0. B consists of bf16 numbers or else f16 ones, in panels of nr
/// columns, the last one filled up with zeros: B[i][j] is b[(j / nr * k + i) * nr + j % nr]. nr is that of the level's kernel
/// of apus_sgemm.h.
///
/// Sums are taken as apus_sgemm_run takes them on the level's kernel: over pieces of k of nearly equal size, as few as have at most
/// k_block terms; each piece from 0 on and in order, then the pieces in order.
typedef struct apus_rowproduct_narrow_args {
  size_t n, k, nr, k_block;
  const float *x;
  const uint16_t *b;
  bool is_bfloat;
  float *y;
} apus_rowproduct_narrow_args;

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
  void (*narrow)(const apus_rowproduct_narrow_args *args);
  /// c[i * n + j] = sum over p < k of a[i * a_row + p * a_column] * b[p * b_row + j], for i < m, j < n; 0 where k is 0. Each sum
  /// runs over p in order.
  void (*doubles)(size_t m, size_t n, size_t k, const double *a, size_t a_row, size_t a_column, const double *b,
                  size_t b_row, double *c);
} apus_rowproduct_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_rowproduct_kernels *apus_rowproduct_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_rowproduct_kernels *apus_rowproduct_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
