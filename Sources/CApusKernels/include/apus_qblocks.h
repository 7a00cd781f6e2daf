// Products of two operands that are quantised block by block: A to 8 bits when it is at hand, B to 2, 4 or 8 bits in the model.
#ifndef APUS_QBLOCKS_H
#define APUS_QBLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// C[m,n] = sum over blocks b of  a_scale[m,b] * b_scale[n,b] * sum over i in b of a[m,i] * (code[n,i] - zero_point[n,b])   (+ bias[n])
///
/// The sums within a block are exact. Those over blocks are taken in f32, in the order of the blocks, whatever the level, the
/// slice or the number of rows; levels differ by what a fused multiply-add rounds.
///
/// B is com.microsoft's MatMulNBits': a column n is `blocks` blocks of block_size codes of `bits` bits, the first in the lowest
/// bits; block_size is a power of two, at least 16. It is packed once, into panels of `nr` columns that hold each block's codes,
/// scales and zero points side by side, so that a product of few rows is bound by reading them from one end to the other.
///
/// How to use it: pack B at load; in each run quantise the rows of A, then run slices, on any number of threads. Everything may
/// run concurrently as long as the written memory is disjoint. Nothing is allocated. Sizes must have been checked by the caller.
typedef struct apus_qblocks_shape {
  size_t n, k;
  unsigned bits; ///< 2, 4 or 8
  size_t block_size;
  size_t blocks; ///< k / block_size, rounded up
  int has_zero_points; ///< else they are 2^(bits - 1)
} apus_qblocks_shape;

typedef struct apus_qblocks_args {
  size_t m;
  const int8_t *a;       ///< m rows of blocks * block_size, as `quantize` wrote them
  const float *a_scales; ///< [m][blocks]
  const int32_t *a_sums; ///< [m][blocks]
  const void *b;         ///< packed, aligned to 64
  const float *bias;     ///< one for each column, or NULL
  float *c;
  size_t c_stride; ///< from one row to the next
} apus_qblocks_args;

typedef struct apus_qblocks_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  size_t nr; ///< columns of a panel
  /// One row of k floats as s8 codes: for each block the scale is the largest magnitude / 127, and `a` gets round(x / scale), ties to
  /// even, zeros beyond k; `sum` is the sum of the codes. A block with an infinity or NaN gives whatever codes and such a scale, and
  /// sums that are NaN.
  void (*quantize)(const apus_qblocks_shape *shape, const float *x, int8_t *a, float *scales, int32_t *sums);
  /// Panels [panel_begin, panel_end) of all rows.
  void (*run)(const apus_qblocks_shape *shape, const apus_qblocks_args *args, size_t panel_begin, size_t panel_end);
} apus_qblocks_kernels;

/// Panels of a matrix of n columns.
size_t apus_qblocks_panels(const apus_qblocks_kernels *kernels, size_t n);

/// Bytes of one packed panel, a multiple of 64 on levels of 16 columns or more.
size_t apus_qblocks_panel_size(const apus_qblocks_kernels *kernels, const apus_qblocks_shape *shape);

/// Packs panels [panel_begin, panel_end) into their places in `packed` (the address of panel 0). `scales` and `zero_points` (NULL
/// unless the shape has some) are [n][blocks].
void apus_qblocks_pack(const apus_qblocks_kernels *kernels, const apus_qblocks_shape *shape, const uint8_t *codes, const float *scales,
                       const float *zero_points, void *packed, size_t panel_begin, size_t panel_end);

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_qblocks_kernels *apus_qblocks_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_qblocks_kernels *apus_qblocks_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
