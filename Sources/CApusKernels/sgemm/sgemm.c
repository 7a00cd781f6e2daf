// The driver: cuts a slice of C into blocks that suit the caches and into tiles that suit the registers.
//
// Loops, outermost first: blocks of rows, blocks of the summation, panels of columns, tiles of rows. One block of a
// panel (k_block * nr floats) is used by all row tiles of the block while it is in L1 or L2; the block of A stays in L2.
#include <stdint.h>
#include <string.h>

#include "sgemm_tile.h"

enum {
  K_BLOCK = 256,      // terms summed in registers before C is touched: fixed, because it decides the summation order
  ROW_BLOCK = 192,    // rows of A per block
  PACKED_PITCH = K_BLOCK + 16, // floats from row to row of a packed block of A; no power of two, so that rows spread over L1's sets
  FLATTEN_BELOW = 8,  // an indirect A with fewer channels is copied into rows of all taps: a tap's set-up costs more
};

/// A range of the summation: taps [tap, tap + taps), inner indices [at, at + k).
typedef struct block {
  size_t tap, taps, at, k;
} block;

typedef struct plan {
  bool by_tap;        // each tap is cut into `pieces` pieces; otherwise taps are grouped into `pieces` groups
  size_t pieces, count;
} plan;

static size_t divide_up(size_t a, size_t b) { return a / b + (a % b != 0); }

/// Start of part `i` when `total` is cut into `parts` nearly equal parts.
static size_t part(size_t total, size_t parts, size_t i) {
  const size_t base = total / parts, extra = total % parts;
  return base * i + (i < extra ? i : extra);
}

static plan plan_blocks(size_t taps, size_t k) {
  if (taps == 0 || k == 0) return (plan){false, 1, 1};
  if (k > K_BLOCK) {
    const size_t pieces = divide_up(k, K_BLOCK);
    return (plan){true, pieces, taps * pieces};
  }
  const size_t groups = divide_up(taps, K_BLOCK / k);
  return (plan){false, groups, groups};
}

static block block_at(const plan *p, size_t taps, size_t k, size_t i) {
  if (taps == 0 || k == 0) return (block){0, 0, 0, 0};
  if (p->by_tap) {
    const size_t at = part(k, p->pieces, i % p->pieces);
    return (block){i / p->pieces, 1, at, part(k, p->pieces, i % p->pieces + 1) - at};
  }
  const size_t tap = part(taps, p->pieces, i);
  return (block){tap, part(taps, p->pieces, i + 1) - tap, 0, k};
}

static bool packs_a(const apus_sgemm_args *args) {
  if (args->a_table) return args->k < FLATTEN_BELOW && args->taps > 1;
  return args->a_k_stride != 1 && args->k > 1;
}

size_t apus_sgemm_workspace_size(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args) {
  (void)kernel;
  return packs_a(args) ? (size_t)ROW_BLOCK * PACKED_PITCH * sizeof(float) : 0;
}

/// Copies the block's part of rows [m, m + rows) of A into rows of PACKED_PITCH floats.
static void pack_a(const apus_sgemm_args *args, const block *which, size_t m, size_t rows, float *to) {
  if (!args->a_table) {
    const float *from = args->a + m * args->a_row_stride + which->at * args->a_k_stride;
    // Columns of A outside: with A transposed, a_row_stride is 1 and each pass reads a contiguous run.
    for (size_t i = 0; i < which->k; i++)
      for (size_t r = 0; r < rows; r++) to[r * PACKED_PITCH + i] = from[r * args->a_row_stride + i * args->a_k_stride];
    return;
  }
  for (size_t r = 0; r < rows; r++) {
    const ptrdiff_t *entries = args->a_table + (m + r) * args->taps + which->tap;
    float *row = to + r * PACKED_PITCH;
    for (size_t t = 0; t < which->taps; t++)
      for (size_t i = 0; i < args->k; i++) *row++ = entries[t] < 0 ? 0 : args->a[entries[t] + (ptrdiff_t)i];
  }
}

void apus_sgemm_run(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace) {
  if (m_begin >= m_end || n_begin >= n_end) return;
  const size_t mr = kernel->mr, nr = kernel->nr, lanes = kernel->ops->lanes;
  const size_t taps = args->taps, k = args->k, depth = taps * k;
  const apus_epilogue *e = &args->epilogue;
  const plan p = plan_blocks(taps, k);
  const bool packing = packs_a(args);
  // Partial sums are kept in C. A residual that is C itself must be read before they overwrite it.
  const bool residual_is_c = e->residual == args->c && e->residual_stride == args->c_stride && p.count > 1;
  const float *residual = residual_is_c ? NULL : e->residual;

  apus_sgemm_tile tile = {.c_stride = args->c_stride, .epilogue = e};
  const size_t row_blocks = divide_up(m_end - m_begin, ROW_BLOCK);
  for (size_t rb = 0; rb < row_blocks; rb++) {
    const size_t m = m_begin + part(m_end - m_begin, row_blocks, rb);
    const size_t rows = m_begin + part(m_end - m_begin, row_blocks, rb + 1) - m;
    const size_t row_tiles = divide_up(rows, mr);
    for (size_t i = 0; i < p.count; i++) {
      const block which = block_at(&p, taps, k, i);
      tile.load_c = i > 0 || args->accumulate || residual_is_c;
      tile.last = i + 1 == p.count;
      tile.taps = which.taps;
      tile.k = which.k;
      if (packing) {
        pack_a(args, &which, m, rows, workspace);
        tile.taps = which.taps != 0;
        tile.k = which.taps * which.k;
        tile.a_row_stride = PACKED_PITCH;
      } else if (args->a_table) {
        tile.table_stride = taps;
        tile.zero = args->a_zero + which.at;
      } else {
        tile.a_row_stride = args->a_row_stride;
      }
      for (size_t n = n_begin; n < n_end; n += nr) {
        tile.columns = n_end - n < nr ? n_end - n : nr;
        tile.b = args->b + n * depth + (which.tap * k + which.at) * nr;
        tile.bias = e->bias ? e->bias + n : NULL;
        const apus_sgemm_tile_function *functions = kernel->ops->tiles + (divide_up(tile.columns, lanes) - 1) * mr;
        for (size_t rt = 0; rt < row_tiles; rt++) {
          const size_t first = part(rows, row_tiles, rt), count = part(rows, row_tiles, rt + 1) - first;
          const size_t row = m + first;
          if (packing) {
            tile.a = (const float *)workspace + first * PACKED_PITCH;
          } else if (args->a_table) {
            tile.a = args->a + which.at;
            tile.table = args->a_table + row * taps + which.tap;
          } else {
            tile.a = args->a + row * args->a_row_stride + which.at;
          }
          tile.c = args->c + row * args->c_stride + n;
          tile.residual = residual ? residual + row * e->residual_stride + n : NULL;
          functions[count - 1](&tile);
          if (tile.last && e->activation == APUS_ACTIVATION_FUNCTION)
            for (size_t r = 0; r < count; r++) e->function(tile.c + r * args->c_stride, tile.columns, e->params);
        }
      }
    }
  }
}
