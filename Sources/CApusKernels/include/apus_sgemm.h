// The f32 matrix product: dense layers, convolutions, attention, recurrent steps.
#ifndef APUS_SGEMM_H
#define APUS_SGEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_epilogue.h"
#include "apus_indirection.h"

#ifdef __cplusplus
extern "C" {
#endif

/// C[m,n] = act( sum over taps t and inner index i of A[m,t,i] * B[t,i,n]  (+ C[m,n])  + bias[n]  + residual[m,n] )
///
/// How to use it:
///
///     const apus_sgemm_kernel *kernel = apus_sgemm_select(apus_cpu_levels_capped(cap));
///     // once, at load: pack the weights
///     float *packed = allocate(apus_sgemm_packed_size(kernel, taps, k, n) * 4, aligned to 64);
///     apus_sgemm_pack_b(kernel, &source, packed, 0, apus_sgemm_panels(kernel, n));
///     // each run, on each thread: some slice of C
///     apus_sgemm_run(kernel, &args, m_begin, m_end, n_begin, n_end, workspace);
///
/// Results. Each element of C is summed in an order fixed by kernel, taps and k: neither the slices, nor the number of
/// threads, nor the form in which A is given, nor the neighbours change a bit. Different kernels may differ in rounding.
/// NaN and infinity propagate as IEEE arithmetic says: zeros are never skipped, though the padding taps of an
/// indirection do multiply the weights (an infinite weight under a padding tap gives NaN, as a zero-padded input would).
///
/// Sizes. m, n, k or taps of 0 are legal: with nothing to sum, C becomes act(0 + bias + residual). All strides and sizes
/// are in floats unless they say bytes. Products of sizes are not checked for overflow here: the caller must have
/// checked that m*c_stride, m*taps, apus_sgemm_packed_size's result times 4 and so on fit into size_t.
///
/// Memory. Nothing is read outside the given rows and columns of A, bias and residual, nothing is written outside the n
/// columns of C. Packed B is read in full panels, zero padding included. Nothing is allocated. Pointers need only the
/// alignment of float, but packed B and the workspace should be aligned to 64 bytes for speed.
///
/// Threads. Every function may run concurrently with every other, as long as the written memory is disjoint: C slices,
/// panel ranges of one packed buffer, and one workspace per running call.
typedef struct apus_sgemm_ops apus_sgemm_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_sgemm_kernel {
  const char *name; ///< e.g. "avx512_6x64"
  apus_isa isa;     ///< the level that the CPU must have
  size_t mr;        ///< rows of C computed at once; splitting M at multiples of it is best, though any split is right
  size_t nr;        ///< columns in a packed panel; N may be split only at multiples of it
  size_t lanes;   ///< floats in a vector
  size_t k_block; ///< terms summed in registers before C is touched: part of what decides the order of summation
  const apus_sgemm_ops *ops;
} apus_sgemm_kernel;

/// Number of kernels compiled in, whatever this CPU can run.
size_t apus_sgemm_kernel_count(void);

/// The kernel at an index below the count, best first, generic last; NULL beyond the end.
const apus_sgemm_kernel *apus_sgemm_kernel_at(size_t index);

/// The best kernel whose level is in `levels` (see apus_cpu_levels_capped). The generic kernel needs no bit.
const apus_sgemm_kernel *apus_sgemm_select(uint32_t levels);

// MARK: B

/// The panels of a matrix of n columns: ceil(n / nr).
size_t apus_sgemm_panels(const apus_sgemm_kernel *kernel, size_t n);

/// Floats in packed B: panels(n) * taps * k * nr. Panel p begins at float p * taps * k * nr.
///
/// Wraps around silently if that product exceeds size_t: check ceil(n / nr) * nr * taps * k * 4 first.
size_t apus_sgemm_packed_size(const apus_sgemm_kernel *kernel, size_t taps, size_t k, size_t n);

/// Where the elements of an unpacked B lie: B[t,i,j] is b[t*tap_stride + i*k_stride + j*n_stride].
///
/// - row-major [k,n] (MatMul, Gemm): taps 1, k_stride = n, n_stride = 1
/// - transposed [n,k] (Gemm with transB, PyTorch's Linear): taps 1, k_stride = 1, n_stride = k
/// - convolution weights [n, k, taps] (ONNX Conv, k = input channels of one group): tap_stride = 1, k_stride = taps,
///   n_stride = k * taps
typedef struct apus_sgemm_b {
  const float *b;
  size_t taps, k, n;
  size_t tap_stride, k_stride, n_stride;
} apus_sgemm_b;

/// Packs panels [panel_begin, panel_end) of B into their places in `packed` (the address of panel 0), columns beyond n
/// as zeros. Ranges may be packed in any order and by several threads.
void apus_sgemm_pack_b(const apus_sgemm_kernel *kernel, const apus_sgemm_b *source, float *packed, size_t panel_begin,
                       size_t panel_end);

/// Multiplies the first `columns` columns, nr at most, of `count` rows of a panel by their factors, and those beyond by 0.
void apus_sgemm_scale_rows(const apus_sgemm_kernel *kernel, float *rows, size_t count, const float *factors, size_t columns);

// MARK: A and the product

/// One product. A is dense, indirect, or windowed:
///
/// - dense (`a_table` NULL; taps must be 1): A[m,0,i] is a[m*a_row_stride + i*a_k_stride]. With a_k_stride 1, A is read in
///   place; with another (A transposed: a_row_stride 1, a_k_stride = its row length) it is packed into the workspace.
/// - indirect (`a_table` has m*taps entries, see apus_indirection.h): A[m,t,i] is a[a_table[m*taps + t] + i], and 0 under
///   APUS_PADDING_TAP, where `a_zero` is read instead: k zeros, needed only if the table has padding taps.
/// - windowed (`a_offsets` has taps entries, `a_table` NULL): A[m,t,i] is a[m*a_row_stride + a_offsets[t] + i]. The windows
///   of one row of an image that has its padding with it; a tap is a run of elements that lie next to each other.
typedef struct apus_sgemm_args {
  size_t m, n, k, taps;

  const float *a;
  size_t a_row_stride, a_k_stride;
  const ptrdiff_t *a_table;
  const float *a_zero;
  const ptrdiff_t *a_offsets;

  const float *b; ///< as packed by apus_sgemm_pack_b for the same kernel, taps, k and n

  /// Not NULL: B is narrow. `b` points to elements of `b_size` bytes in the order of packed B, of which this makes floats (as an
  /// apus_to_f32_fn does), a part of a panel at a time in the workspace, just before the rows are multiplied with it. `b_scale`:
  /// NULL, or a factor for each column of B. Results have the bits of those with floats that were made beforehand.
  void (*b_widen)(size_t n, const void *x, float *y);
  size_t b_size;
  const float *b_scale;

  float *c;          ///< row-major; must not overlap A or B
  size_t c_stride;   ///< floats from one row of C to the next, >= n
  bool accumulate;   ///< add the product to what C holds; bias, residual and activation then apply to the sum

  const void *ahead; ///< memory that the caller reads next, or NULL: brought into L2 while the last columns are computed
  size_t ahead_size; ///< bytes of it; for each line a term of the sum and a tile of rows is needed, or lines are left out

  apus_epilogue epilogue;
} apus_sgemm_args;

/// Bytes of workspace that each concurrent apus_sgemm_run of these arguments wants; pointers in `args` are not read
/// through, but whether they are NULL matters. Bounded (about 300 kB, and 200 kB for a narrow B), independent of m and n, 0 in
/// many cases.
size_t apus_sgemm_workspace_size(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args);

/// Computes rows [m_begin, m_end) and columns [n_begin, n_end) of C.
///
/// `n_begin` must be a multiple of nr, `n_end` a multiple of nr or n. Bias, residual, table and all pointers in `args`
/// describe the whole of C, not the slice. `workspace`: as many bytes as apus_sgemm_workspace_size says, may be NULL if 0.
void apus_sgemm_run(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace);

#ifdef __cplusplus
}
#endif
#endif
