// What a level provides to the common part.
#ifndef APUS_QGEMM_OPS_H
#define APUS_QGEMM_OPS_H

#include "apus_qgemm.h"

struct apus_qgemm_ops {
  size_t a_element; ///< bytes of an element of A as tiles read it: 1, or 2 where products are made of 16-bit numbers
  void (*run)(const apus_qgemm_args *args, size_t m_begin, size_t m_end, size_t n_begin, size_t n_end, void *workspace);
  /// Stores complete sums as C: sums[r * nr + j] belongs to row `row` + r and column `column` + j, the first of a panel. For
  /// kernels that have the sums from elsewhere; `a_zero_points` must be NULL.
  void (*finish)(const apus_qgemm_args *args, size_t row, size_t rows, size_t column, const int32_t *sums);
};

/// The inner dimension as packed.
static inline size_t apus_qgemm_depth(size_t taps, size_t k) { return (taps * k + 3) / 4 * 4; }

/// Bytes of the part of the workspace that holds the addresses of the rows of one tile.
static inline size_t apus_qgemm_pointers_size(size_t mr, size_t taps) {
  return (mr * (taps ? taps : 1) * sizeof(void *) + 63) / 64 * 64;
}

/// Bytes of one panel: the elements in groups of four rows, column after column, then the column sums.
static inline size_t apus_qgemm_panel_size(size_t nr, size_t depth) { return nr * depth + nr * sizeof(int32_t); }

#endif
