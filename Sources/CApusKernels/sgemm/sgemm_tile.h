// Between the driver and the micro-kernels: one tile of C, one block of the summation.
#ifndef APUS_SGEMM_TILE_H
#define APUS_SGEMM_TILE_H

#include "apus_sgemm.h"

/// C[rows, columns] (+)= sum over `taps` and `k` of A·B, for as many rows as the chosen function was made for.
typedef struct apus_sgemm_tile {
  const float *a;
  size_t a_row_stride;    ///< dense: row i begins at a + i * a_row_stride, and taps is at most 1
  const ptrdiff_t *offsets; ///< windowed: row i under tap t begins at a + i * a_row_stride + offsets[t]
  const ptrdiff_t *table; ///< indirect: row i under tap t begins at a + table[i * table_stride + t], or at `zero`
  size_t table_stride;
  const float *zero;
  size_t taps, k;
  const float *b; ///< taps * k rows of nr floats
  size_t b_panel; ///< floats from a panel to the next, for the functions of several panels
  const char *ahead; ///< memory that is wanted soon: a line of it is asked for at every step, harmless if it is none
  size_t ahead_step; ///< bytes to advance with each term of the sum
  float *c;
  size_t c_stride;
  size_t columns; ///< 1 ... nr
  bool load_c;    ///< add to what C holds
  bool last;      ///< apply the epilogue, whose bias and residual point to the first column and element of this tile
  const float *bias, *residual;
  const apus_epilogue *epilogue;
} apus_sgemm_tile;

typedef void (*apus_sgemm_tile_function)(const apus_sgemm_tile *tile);

enum { APUS_SGEMM_MOST_TILES = 24 };

/// What an instruction set provides; the numbers are in sgemm.def.
struct apus_sgemm_ops {
  /// [(vectors - 1) * mr + rows - 1], vectors = ceil(columns / lanes)
  apus_sgemm_tile_function tiles[APUS_SGEMM_MOST_TILES];
  /// One row of `row_panels` full panels: more sums at once than one panel has, and more streams from memory.
  apus_sgemm_tile_function row;
  size_t row_panels;
  /// Multiplies the first `columns` of each of `count` rows of a panel by their factors; those beyond, by 0.
  void (*scale_rows)(float *rows, size_t count, const float *factors, size_t columns);
};

#define APUS_SGEMM_KERNEL(NAME, ISA, MR, NR, LANES, K_BLOCK) extern const apus_sgemm_ops apus_sgemm_ops_##NAME;
#include "sgemm.def"
#undef APUS_SGEMM_KERNEL

#endif
