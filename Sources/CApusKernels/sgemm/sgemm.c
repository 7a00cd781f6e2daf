// The driver: cuts a slice of C into blocks that suit the caches and into tiles that suit the registers.
//
// Loops, outermost first: blocks of rows, blocks of columns, blocks of the summation, panels of columns, tiles of rows. One block of
// a panel (k_block * nr floats) is used by all row tiles of the block while it is in L1 or L2; the block of A stays in L2, and so
// does that of C, where partial sums are kept.
#include <stdint.h>
#include <string.h>

#include "apus_transpose.h"
#include "sgemm_tile.h"

enum {
  ROW_BLOCK = 96,        // rows of A per block: with the longest k block, 300 kB of a 1 MB L2
  MOST_K_BLOCK = 768,    // of all kernels
  PACKED_PITCH = MOST_K_BLOCK + 16, // floats between rows of a packed A; no power of two, so that rows spread over L1's sets
  FUNCTION_FLOATS = 1 << 15, // of C, computed before the epilogue's function is called on them: 128 KiB
  PARTIAL_FLOATS = 3 << 15,  // of C at most in a block of partial sums: 384 KiB
  NARROW_FLOATS = 3 << 15, // of A in a block at most where B is widened for each: 384 KiB, and of rows then
  NARROW_ROWS = 512,
  WIDENED_ROWS = 32,     // of a panel that are widened before they are scaled, while they are in L1
  FLATTEN_BELOW = 8,     // an indirect A with fewer channels is copied into rows of all taps: a tap's set-up costs more
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

static plan plan_blocks(size_t taps, size_t k, size_t k_block) {
  if (taps == 0 || k == 0) return (plan){false, 1, 1};
  if (k > k_block) {
    const size_t pieces = divide_up(k, k_block);
    return (plan){true, pieces, taps * pieces};
  }
  const size_t groups = divide_up(taps, k_block / k);
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
  if (args->a_offsets) return false;
  return args->a_k_stride != 1 && args->k > 1;
}

/// Bytes of the workspace that packed rows of A take; widened B follows.
static size_t packed_a_size(const apus_sgemm_args *args) {
  return packs_a(args) ? (size_t)ROW_BLOCK * PACKED_PITCH * sizeof(float) : 0;
}

size_t apus_sgemm_workspace_size(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args) {
  const size_t block = kernel->k_block, depth = args->taps > 0 && args->k > block / args->taps ? block : args->taps * args->k;
  return packed_a_size(args) + (args->b_widen ? depth * kernel->nr * sizeof(float) : 0);
}

/// Rows of A in a block whose sums have at most `terms` terms. Each block widens a narrow B anew.
static size_t most_rows(const apus_sgemm_args *args, size_t terms) {
  if (!args->b_widen || packs_a(args) || terms == 0) return ROW_BLOCK;
  const size_t rows = NARROW_FLOATS / terms;
  return rows < ROW_BLOCK ? ROW_BLOCK : rows > NARROW_ROWS ? NARROW_ROWS : rows;
}

/// Brings rows [at, at + rows) of the panel whose first column is n into floats.
static void widen(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args, size_t n, size_t columns, size_t at, size_t rows,
                  float *to) {
  const size_t nr = kernel->nr;
  const char *from = (const char *)args->b + (n * args->taps * args->k + at * nr) * args->b_size;
  if (!args->b_scale) {
    args->b_widen(rows * nr, from, to);
    return;
  }
  for (size_t row = 0; row < rows; row += WIDENED_ROWS) {
    const size_t count = rows - row < WIDENED_ROWS ? rows - row : WIDENED_ROWS;
    args->b_widen(count * nr, from + row * nr * args->b_size, to + row * nr);
    kernel->ops->scale_rows(to + row * nr, count, args->b_scale + n, columns);
  }
}

/// memcpy of a few floats, without the call.
static inline void copy_run(const float *from, size_t count, float *to) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) memcpy(to + i, from + i, 4 * sizeof(float));
  for (; i < count; i++) to[i] = from[i];
}

/// Copies the block's part of rows [m, m + rows) of A into rows of PACKED_PITCH floats.
static void pack_a(const apus_sgemm_args *args, const block *which, size_t m, size_t rows, float *to) {
  if (!args->a_table) {
    const float *from = args->a + m * args->a_row_stride + which->at * args->a_k_stride;
    if (args->a_row_stride == 1) {
      apus_transpose_2d(sizeof(float), which->k, rows, from, args->a_k_stride, to, PACKED_PITCH);
    } else {
      for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < which->k; i++)
          to[r * PACKED_PITCH + i] = from[r * args->a_row_stride + i * args->a_k_stride];
    }
    return;
  }
  const ptrdiff_t k = (ptrdiff_t)args->k;
  for (size_t r = 0; r < rows; r++) {
    const ptrdiff_t *entries = args->a_table + (m + r) * args->taps + which->tap;
    float *row = to + r * PACKED_PITCH;
    for (size_t t = 0; t < which->taps;) {
      // Taps that lie next to each other in memory, as those of one window row do, are copied as one run.
      const ptrdiff_t first = entries[t];
      const size_t from = t++;
      if (first < 0) {
        while (t < which->taps && entries[t] < 0) t++;
      } else {
        while (t < which->taps && entries[t] == first + (ptrdiff_t)(t - from) * k) t++;
      }
      const size_t count = (t - from) * args->k;
      if (first < 0)
        memset(row, 0, count * sizeof(float));
      else
        copy_run(args->a + first, count, row);
      row += count;
    }
  }
}

/// Columns of C in a block of `rows` rows, a multiple of the panel's: as many as stay in cache until their sums are complete and
/// the epilogue's function has come to them (the more at once the better); all, where neither matters.
static size_t block_columns(const apus_sgemm_kernel *kernel, const plan *p, const apus_epilogue *e, size_t rows, size_t row_panels) {
  // One tile of rows: packed B is read once only, and best from one end to the other.
  if (rows <= kernel->mr && p->count > 1 && e->activation != APUS_ACTIVATION_FUNCTION)
    return (rows == 1 ? row_panels : 1) * kernel->nr;
  size_t most = SIZE_MAX / 2;
  if (p->count > 1) most = PARTIAL_FLOATS / rows;
  if (e->activation == APUS_ACTIVATION_FUNCTION && FUNCTION_FLOATS / rows < most) most = FUNCTION_FLOATS / rows;
  return most < kernel->nr ? kernel->nr : most / kernel->nr * kernel->nr;
}

static void call_function(const apus_epilogue *e, float *c, size_t stride, size_t rows, size_t columns) {
  if (stride == columns) {
    e->function(c, rows * columns, e->params);
  } else {
    for (size_t r = 0; r < rows; r++) e->function(c + r * stride, columns, e->params);
  }
}

void apus_sgemm_run(const apus_sgemm_kernel *kernel, const apus_sgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace) {
  if (m_begin >= m_end || n_begin >= n_end) return;
  const size_t mr = kernel->mr, nr = kernel->nr;
  const size_t taps = args->taps, k = args->k, depth = taps * k;
  const apus_epilogue *e = &args->epilogue;
  const plan p = plan_blocks(taps, k, kernel->k_block);
  const bool packing = packs_a(args);
  // Partial sums are kept in C. A residual that is C itself must be read before they overwrite it.
  const bool residual_is_c = e->residual == args->c && e->residual_stride == args->c_stride && p.count > 1;
  const float *residual = residual_is_c ? NULL : e->residual;

  apus_sgemm_tile tile = {.c_stride = args->c_stride, .epilogue = e};
  // Panels that a single row is multiplied with at once.
  const size_t most_panels = args->b_widen ? 1 : kernel->ops->row_panels, b_size = args->b_widen ? args->b_size : sizeof(float);
  float *const widened = args->b_widen ? (float *)((char *)workspace + packed_a_size(args)) : NULL;
  const size_t row_blocks = divide_up(m_end - m_begin, most_rows(args, divide_up(depth, p.count)));
  for (size_t rb = 0; rb < row_blocks; rb++) {
    const size_t m = m_begin + part(m_end - m_begin, row_blocks, rb);
    const size_t rows = m_begin + part(m_end - m_begin, row_blocks, rb + 1) - m;
    const size_t row_tiles = divide_up(rows, mr);
    const size_t width = block_columns(kernel, &p, e, rows, most_panels);
    for (size_t n_block = n_begin; n_block < n_end;) {
      const size_t n_last = n_end - n_block < width ? n_end : n_block + width;
      for (size_t i = 0; i < p.count; i++) {
        const block which = block_at(&p, taps, k, i);
        tile.load_c = i > 0 || args->accumulate || residual_is_c;
        tile.last = i + 1 == p.count;
        tile.taps = which.taps;
        tile.k = which.k;
        if (packing) {
          // One block of the sum needs to be copied but once.
          if (p.count > 1 || n_block == n_begin) pack_a(args, &which, m, rows, workspace);
          tile.taps = which.taps != 0;
          tile.k = which.taps * which.k;
          tile.a_row_stride = PACKED_PITCH;
        } else if (args->a_table) {
          tile.table_stride = taps;
          tile.zero = args->a_zero + which.at;
        } else {
          tile.a_row_stride = args->a_row_stride;
          tile.offsets = args->a_offsets ? args->a_offsets + which.tap : NULL;
        }
        const size_t row_panels = rows == 1 ? most_panels : 1;
        size_t columns;
        for (size_t n = n_block; n < n_last; n += columns) {
          const size_t panels = (n_last - n) / nr >= row_panels ? row_panels : 1;
          columns = n_last - n < panels * nr ? n_last - n : panels * nr;
          tile.columns = columns;
          const size_t b_at = n * depth + (which.tap * k + which.at) * nr;
          tile.b = widened ? widened : args->b + b_at;
          if (widened) widen(kernel, args, n, columns, which.tap * k + which.at, which.taps * which.k, widened);
          tile.b_panel = nr * depth;
          tile.bias = e->bias ? e->bias + n : NULL;
          // While this panel is used, the next one, or what follows the product, is brought into L2, a share by each tile of rows.
          const size_t terms = tile.taps * tile.k;
          const char *ahead = (const char *)args->b + b_at * b_size;
          size_t share = 0;
          if (n + columns < n_end) {
            if (row_tiles > 1) ahead += nr * depth * b_size, share = terms * nr * b_size / row_tiles;
          } else if (tile.last && args->ahead) {
            ahead = args->ahead, share = args->ahead_size / row_tiles;
          }
          tile.ahead_step = terms ? share / terms : 0;
          const size_t first_tile = (divide_up(columns, kernel->lanes) - 1) * mr; // of one panel
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
            tile.ahead = ahead + rt * share;
            tile.c = args->c + row * args->c_stride + n;
            tile.residual = residual ? residual + row * e->residual_stride + n : NULL;
            (panels > 1 ? kernel->ops->row : kernel->ops->tiles[first_tile + count - 1])(&tile);
          }
        }
      }
      if (e->activation == APUS_ACTIVATION_FUNCTION)
        call_function(e, args->c + m * args->c_stride + n_block, args->c_stride, rows, n_last - n_block);
      n_block = n_last;
    }
  }
}
