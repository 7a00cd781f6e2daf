// The micro-kernel, written once. Included after a vec_*.h and vec_tile.h, with
//
//   SGEMM_NAME     the kernel's name in sgemm.def
//   SGEMM_MR       rows
//   SGEMM_VECTORS  vectors in a row of the tile: nr = SGEMM_VECTORS * VW
//   SGEMM_PANELS   panels computed at once if there is but one row
//   SGEMM_STEPS    terms of the sum between two prefetches
//
// defined. Makes one function for every number of rows and of vectors, so that the accumulators of every one of them
// stay in registers and no row is computed in vain. Every one sums an element in the same order.

#define SGEMM_NR (SGEMM_VECTORS * VW)
#define SGEMM_WIDEST (SGEMM_VECTORS * SGEMM_PANELS)
#define SGEMM_UNROLL _Pragma("clang loop unroll(full)")
#define SGEMM_JOIN_(a, b, c) a##b##_##c
#define SGEMM_JOIN(a, b, c) SGEMM_JOIN_(a, b, c)
#define SGEMM_FUNCTION(rows, vectors) SGEMM_JOIN(SGEMM_JOIN(sgemm_, SGEMM_NAME, rows), x, vectors)
#define SGEMM_BODY SGEMM_JOIN(sgemm_, SGEMM_NAME, body)

APUS_INLINE void SGEMM_BODY(const apus_sgemm_tile *tile, const int rows, const int vectors) {
  vf sum[SGEMM_MR][SGEMM_WIDEST];
  SGEMM_UNROLL for (int i = 0; i < rows; i++)
    SGEMM_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = v_set1(0);

  const float *b = tile->b;
  const size_t b_panel = tile->b_panel;
  const size_t k = tile->k;
  const char *ahead = tile->ahead;
  const size_t ahead_step = tile->ahead_step * SGEMM_STEPS;
  for (size_t tap = 0; tap < tile->taps; tap++) {
    const float *row[SGEMM_MR];
    if (tile->table) {
      SGEMM_UNROLL for (int i = 0; i < rows; i++) {
        const ptrdiff_t at = tile->table[(size_t)i * tile->table_stride + tap];
        row[i] = at < 0 ? tile->zero : tile->a + at;
      }
    } else {
      const float *const first = tile->offsets ? tile->a + tile->offsets[tap] : tile->a;
      SGEMM_UNROLL for (int i = 0; i < rows; i++) row[i] = first + (size_t)i * tile->a_row_stride;
    }
#define SGEMM_STEP(at)                                                                                                 \
  do {                                                                                                                 \
    vf right[SGEMM_WIDEST];                                                                                            \
    SGEMM_UNROLL for (int j = 0; j < vectors; j++)                                                                     \
      right[j] = v_load(b + (size_t)(j / SGEMM_VECTORS) * b_panel + j % SGEMM_VECTORS * VW);                           \
    SGEMM_UNROLL for (int i = 0; i < rows; i++) {                                                                      \
      const vf left = v_set1(row[i][at]);                                                                              \
      SGEMM_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = v_fma(left, right[j], sum[i][j]);                     \
    }                                                                                                                  \
    b += SGEMM_NR;                                                                                                     \
  } while (0)
    size_t at = 0;
    for (; at + SGEMM_STEPS <= k; at += SGEMM_STEPS) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_step;
      SGEMM_UNROLL for (size_t step = 0; step < SGEMM_STEPS; step++) SGEMM_STEP(at + step);
    }
    if (SGEMM_STEPS > 1)
      for (; at < k; at++) SGEMM_STEP(at);
#undef SGEMM_STEP
  }

  float *const c = tile->c;
  const size_t tail = tile->columns - (size_t)(vectors - 1) * VW;
#define SGEMM_EACH                                                                                                     \
  SGEMM_UNROLL for (int i = 0; i < rows; i++) SGEMM_UNROLL for (int j = 0; j < vectors; j++)
#define SGEMM_LOAD(p) (j == vectors - 1 ? v_load_upto((p) + j * VW, tail) : v_load((p) + j * VW))
  if (tile->load_c) SGEMM_EACH sum[i][j] = v_add(SGEMM_LOAD(c + (size_t)i * tile->c_stride), sum[i][j]);
  if (tile->last) {
    if (tile->bias) {
      vf bias[SGEMM_WIDEST];
      SGEMM_UNROLL for (int j = 0; j < vectors; j++) bias[j] = SGEMM_LOAD(tile->bias);
      SGEMM_EACH sum[i][j] = v_add(sum[i][j], bias[j]);
    }
    if (tile->residual) {
      const size_t stride = tile->epilogue->residual_stride;
      SGEMM_EACH sum[i][j] = v_add(sum[i][j], SGEMM_LOAD(tile->residual + (size_t)i * stride));
    }
    const apus_activation activation = tile->epilogue->activation;
    const vf alpha = v_set1(tile->epilogue->alpha), beta = v_set1(tile->epilogue->beta);
    switch (activation) {
#define SGEMM_ACTIVATE(which) case which: SGEMM_EACH sum[i][j] = v_activate(sum[i][j], which, alpha, beta); break;
      SGEMM_ACTIVATE(APUS_ACTIVATION_RELU)
      SGEMM_ACTIVATE(APUS_ACTIVATION_CLAMP)
      SGEMM_ACTIVATE(APUS_ACTIVATION_LEAKY_RELU)
      SGEMM_ACTIVATE(APUS_ACTIVATION_HARD_SIGMOID)
      SGEMM_ACTIVATE(APUS_ACTIVATION_HARD_SWISH)
#undef SGEMM_ACTIVATE
    case APUS_ACTIVATION_NONE:
    case APUS_ACTIVATION_FUNCTION: break;
    }
  }
  SGEMM_UNROLL for (int i = 0; i < rows; i++) {
    float *const to = c + (size_t)i * tile->c_stride;
    SGEMM_UNROLL for (int j = 0; j + 1 < vectors; j++) v_store(to + j * VW, sum[i][j]);
    v_store_upto(to + (vectors - 1) * VW, tail, sum[i][vectors - 1]);
  }
#undef SGEMM_EACH
#undef SGEMM_LOAD
}

#define SGEMM_DEFINE(rows, vectors)                                                                                    \
  static void SGEMM_FUNCTION(rows, vectors)(const apus_sgemm_tile *tile) { SGEMM_BODY(tile, rows, vectors); }
#define SGEMM_ENTRY(rows, vectors) SGEMM_FUNCTION(rows, vectors),

#if SGEMM_MR == 6
#define SGEMM_ROWS(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#else
#error "list the rows of this SGEMM_MR"
#endif

#if SGEMM_VECTORS == 4
#define SGEMM_TILES(X) SGEMM_ROWS(X, 1) SGEMM_ROWS(X, 2) SGEMM_ROWS(X, 3) SGEMM_ROWS(X, 4)
#elif SGEMM_VECTORS == 2
#define SGEMM_TILES(X) SGEMM_ROWS(X, 1) SGEMM_ROWS(X, 2)
#else
#error "list the vectors of this SGEMM_VECTORS"
#endif

SGEMM_TILES(SGEMM_DEFINE)

static void SGEMM_JOIN(sgemm_, SGEMM_NAME, row)(const apus_sgemm_tile *tile) { SGEMM_BODY(tile, 1, SGEMM_WIDEST); }

static void SGEMM_JOIN(sgemm_, SGEMM_NAME, scale_rows)(float *rows, size_t count, const float *factors, size_t columns) {
  vf factor[SGEMM_VECTORS];
  SGEMM_UNROLL for (size_t j = 0; j < SGEMM_VECTORS; j++)
    factor[j] = j * VW < columns ? v_load_upto(factors + j * VW, columns - j * VW) : v_set1(0);
  for (size_t i = 0; i < count; i++, rows += SGEMM_NR)
    SGEMM_UNROLL for (size_t j = 0; j < SGEMM_VECTORS; j++) v_store(rows + j * VW, v_mul(v_load(rows + j * VW), factor[j]));
}

const apus_sgemm_ops SGEMM_JOIN(apus_sgemm_ops, , SGEMM_NAME) = {
    {SGEMM_TILES(SGEMM_ENTRY)}, SGEMM_JOIN(sgemm_, SGEMM_NAME, row), SGEMM_PANELS, SGEMM_JOIN(sgemm_, SGEMM_NAME, scale_rows)};

#undef SGEMM_TILES
#undef SGEMM_ROWS
#undef SGEMM_ENTRY
#undef SGEMM_DEFINE
#undef SGEMM_BODY
#undef SGEMM_FUNCTION
#undef SGEMM_JOIN
#undef SGEMM_JOIN_
#undef SGEMM_UNROLL
#undef SGEMM_NR
#undef SGEMM_WIDEST
#undef SGEMM_NAME
#undef SGEMM_MR
#undef SGEMM_VECTORS
#undef SGEMM_PANELS
#undef SGEMM_STEPS
