// The 8-bit integer matrix product: exact sums of u8 or s8 times u8 or s8, and what becomes of them.
#ifndef APUS_QGEMM_H
#define APUS_QGEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_indirection.h"

#ifdef __cplusplus
extern "C" {
#endif

/// S[m,n] = sum over taps t and inner index i of (A[m,t,i] - a_zero_point) * (B[t,i,n] - b_zero_point)  (+ sum_bias[n])
///
/// modulo 2^32, the same on every kernel: no intermediate saturates. S is then stored, scaled to f32, or requantised.
///
/// How to use it:
///
///     const apus_qgemm_kernel *kernel = apus_qgemm_select(apus_cpu_levels_capped(cap));
///     // once, at load: pack the weights
///     void *packed = allocate(apus_qgemm_packed_size(kernel, taps, k, n), aligned to 64);
///     apus_qgemm_pack_b(kernel, &source, packed, 0, apus_qgemm_panels(kernel, n));
///     // each run, on each thread: some slice of C
///     apus_qgemm_run(kernel, &args, m_begin, m_end, n_begin, n_end, workspace);
///
/// All outputs have the same bits on every kernel, for every slicing and number of threads.
///
/// Sizes. m, n, k or taps of 0 are legal (an empty sum is 0). Strides are in elements. Products of sizes are not checked
/// here: the caller must have checked that m * c_stride, m * taps, the packed size and so on fit into size_t.
///
/// Memory. Nothing outside the given elements of A, C and the parameters is touched. Nothing is allocated. Pointers need
/// the alignment of their element only; packed B must be aligned to 4 and the workspace to 8, both should be to 64.
///
/// Threads. Everything may run concurrently as long as the written memory is disjoint: slices of C, panel ranges, one
/// workspace for each running call.
typedef struct apus_qgemm_ops apus_qgemm_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_qgemm_kernel {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  size_t mr; ///< rows computed at once; splitting M at multiples of it is best, though any split is right
  size_t nr; ///< columns in a packed panel; N may be split only at multiples of it
  const apus_qgemm_ops *ops;
} apus_qgemm_kernel;

/// All kernels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_qgemm_kernel *apus_qgemm_at(size_t index);

/// The best kernel for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_qgemm_kernel *apus_qgemm_select(uint32_t levels);

// MARK: B

/// The panels of a matrix of n columns: ceil(n / nr).
size_t apus_qgemm_panels(const apus_qgemm_kernel *kernel, size_t n);

/// Bytes of packed B: panels(n) * nr * (taps * k rounded up to 4, plus 4 for the column sums).
size_t apus_qgemm_packed_size(const apus_qgemm_kernel *kernel, size_t taps, size_t k, size_t n);

/// Where the elements of an unpacked B lie: B[t,i,j] is b[t * tap_stride + i * k_stride + j * n_stride]; the same
/// strides as for apus_sgemm_b.
typedef struct apus_qgemm_b {
  const void *b;
  bool is_signed; ///< s8 rather than u8
  size_t taps, k, n;
  size_t tap_stride, k_stride, n_stride;
} apus_qgemm_b;

/// Packs panels [panel_begin, panel_end) of B into their places in `packed` (the address of panel 0). Ranges may be
/// packed in any order and by several threads. The zero point of B is not needed here.
void apus_qgemm_pack_b(const apus_qgemm_kernel *kernel, const apus_qgemm_b *source, void *packed, size_t panel_begin,
                       size_t panel_end);

// MARK: A and the product

typedef enum apus_qgemm_output {
  APUS_QGEMM_S32, ///< C[m,n] = S (+ C[m,n] where `accumulate`), modulo 2^32
  APUS_QGEMM_F32, ///< C[m,n] = float(S) * scale[n] (* row_scale[m]) (+ bias[n]) (+ C[m,n] where `accumulate`), each operation
                  ///< rounded by itself
  APUS_QGEMM_Q8,  ///< C[m,n] = saturate(round(float(S) * scale[n]) + zero point), u8 or s8 by its bounds `low`, `high`;
                  ///< ties to even, each operation rounded by itself, NaN gives `low`
} apus_qgemm_output;

typedef struct apus_qgemm_args {
  size_t m, n, k, taps;

  /// A, dense (`a_table` NULL, taps 1): A[m,0,i] is a[m * a_row_stride + i * a_k_stride];
  /// or indirect (see apus_indirection.h): A[m,t,i] is a[a_table[m * taps + t] + i], and a_padding[i] under
  /// APUS_PADDING_TAP: k elements that hold A's zero point.
  const void *a;
  bool a_is_signed; ///< s8 rather than u8
  size_t a_row_stride, a_k_stride;
  const ptrdiff_t *a_table;
  const void *a_padding;
  int32_t a_zero_point;
  const int32_t *a_zero_points; ///< one per row instead, or NULL

  const void *b;    ///< as packed by apus_qgemm_pack_b for the same kernel, taps, k and n
  bool b_is_signed; ///< as it was packed
  int32_t b_zero_point;
  const int32_t *b_zero_points; ///< one per column instead, or NULL

  const int32_t *sum_bias; ///< n sums added to S, or NULL

  apus_qgemm_output output;
  void *c;         ///< int32_t, float, or uint8_t/int8_t by `output`; must not overlap A or B
  size_t c_stride; ///< elements from one row to the next
  bool accumulate; ///< S32 and F32

  float scale;            ///< F32 and Q8
  const float *scales;    ///< one per column instead, or NULL
  const float *row_scale; ///< F32: one per row, or NULL
  const float *bias;      ///< F32: one per column, or NULL
  int32_t zero_point, low, high; ///< Q8
} apus_qgemm_args;

/// Bytes of workspace that each concurrent apus_qgemm_run wants: a few rows of A and their addresses, independent of m and n.
/// Rows of A are read in place where k is a multiple of 4 and their elements follow one another, if the level can.
size_t apus_qgemm_workspace_size(const apus_qgemm_kernel *kernel, size_t taps, size_t k);

/// Computes rows [m_begin, m_end) and columns [n_begin, n_end) of C. `n_begin` must be a multiple of nr, `n_end` a
/// multiple of nr or n. All pointers in `args` describe the whole of C, not the slice.
void apus_qgemm_run(const apus_qgemm_kernel *kernel, const apus_qgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace);

#ifdef __cplusplus
}
#endif
#endif
