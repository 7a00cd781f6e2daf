// Between the driver and the micro-kernels: one tile of C, one block of the summation.
#ifndef APUS_SGEMM_TILE_H
#define APUS_SGEMM_TILE_H

#include "apus_sgemm.h"

/// C[rows, columns] (+)= sum over `taps` and `k` of A·B, for as many rows as the chosen function was made for.
typedef struct apus_sgemm_tile {
  const float *a;
  size_t a_row_stride;    ///< dense: row i begins at a + i * a_row_stride, and taps is at most 1
  const ptrdiff_t *table; ///< indirect: row i under tap t begins at a + table[i * table_stride + t], or at `zero`
  size_t table_stride;
  const float *zero;
  size_t taps, k;
  const float *b; ///< taps * k rows of nr floats
  float *c;
  size_t c_stride;
  size_t columns; ///< 1 ... nr
  bool load_c;    ///< add to what C holds
  bool last;      ///< apply the epilogue, whose bias and residual point to the first column and element of this tile
  const float *bias, *residual;
  const apus_epilogue *epilogue;
} apus_sgemm_tile;

typedef void (*apus_sgemm_tile_function)(const apus_sgemm_tile *tile);

struct apus_sgemm_ops {
  /// [(vectors - 1) * mr + rows - 1], vectors = ceil(columns / lanes)
  const apus_sgemm_tile_function *tiles;
  size_t lanes;
};

#define APUS_SGEMM_KERNEL(NAME, ISA, MR, NR, LANES) extern const apus_sgemm_ops apus_sgemm_ops_##NAME;
#include "sgemm.def"
#undef APUS_SGEMM_KERNEL

#endif
