// Products of f32 with weights of 2, 4 or 8 bits that are scaled block by block, for few rows.
#ifndef APUS_NBITS_H
#define APUS_NBITS_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/// C[m,n] = sum over blocks b of  scale[n,b] * sum over i in b of A[m,i] * (code[n,i] - zero_point[n,b])   (+ bias[n])
///
/// A row of codes is `blocks` blocks of block_size elements of `bits` bits, the first in the lowest bits, as com.microsoft's
/// MatMulNBits has it; block_size is a power of two, at least 16; the codes beyond k count for nothing. Codes are read in place:
/// each of them once for all rows of a call, so that a product of one row is bound by reading them.
///
/// Sums are taken in f32 in an order that depends on the level, not on n_begin, n_end or the number of rows.
///
/// Everything may run concurrently as long as the written memory is disjoint. Nothing is allocated. Alignment is that of the
/// elements. Sizes must have been checked by the caller.
typedef struct apus_nbits_args {
  size_t m;        ///< at most APUS_NBITS_ROWS
  size_t k;
  unsigned bits;   ///< 2, 4 or 8
  size_t block_size;
  size_t blocks;   ///< k / block_size, rounded up
  const float *a;  ///< m rows as apus_nbits_arrange wrote them, one after the other
  const uint8_t *codes;
  const float *scales;      ///< blocks for each column n
  const float *zero_points; ///< likewise, or NULL for 2^(bits - 1)
  const float *bias;        ///< one for each column, or NULL
  float *c;
  size_t c_stride; ///< from one row to the next
} apus_nbits_args;

#define APUS_NBITS_ROWS 4

typedef struct apus_nbits_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  size_t lanes;     ///< decides how rows of A are arranged
  /// Computes columns [n_begin, n_end).
  void (*run)(const apus_nbits_args *args, size_t n_begin, size_t n_end);
} apus_nbits_kernels;

/// Floats of one arranged row of A.
size_t apus_nbits_arranged_size(const apus_nbits_kernels *kernels, unsigned bits, size_t block_size, size_t blocks);

/// Brings a row of k floats into the order in which `run` meets the codes, padded with zeros, followed by sums of what each 32 bits
/// of codes are multiplied with.
void apus_nbits_arrange(const apus_nbits_kernels *kernels, unsigned bits, size_t block_size, size_t blocks, size_t k, const float *a,
                        float *arranged);

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_nbits_kernels *apus_nbits_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_nbits_kernels *apus_nbits_select(uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
