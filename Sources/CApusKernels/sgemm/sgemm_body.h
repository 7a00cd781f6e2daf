// The micro-kernel, written once. Included after a vector header of f32/, with
//
//   SGEMM_NAME     the kernel's name in sgemm.def
//   SGEMM_MR       rows, at most 14
//   SGEMM_VECTORS  vectors in a row of the tile, at most 4: nr = SGEMM_VECTORS * V_LANES
//
// defined. Makes one function for every number of rows and of vectors, so that the accumulators of every one of them
// stay in registers and no row is computed in vain. Every one sums an element in the same order.

#define SGEMM_NR (SGEMM_VECTORS * V_LANES)
#define SGEMM_UNROLL _Pragma("clang loop unroll(full)")
#define SGEMM_JOIN_(a, b, c) a##b##_##c
#define SGEMM_JOIN(a, b, c) SGEMM_JOIN_(a, b, c)
#define SGEMM_FUNCTION(rows, vectors) SGEMM_JOIN(SGEMM_JOIN(sgemm_, SGEMM_NAME, rows), x, vectors)
#define SGEMM_BODY SGEMM_JOIN(sgemm_, SGEMM_NAME, body)

V_INLINE void SGEMM_BODY(const apus_sgemm_tile *tile, const int rows, const int vectors) {
  v_f32 sum[SGEMM_MR][SGEMM_VECTORS];
  SGEMM_UNROLL for (int i = 0; i < rows; i++)
    SGEMM_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = v_splat(0);

  const float *b = tile->b;
  const size_t k = tile->k;
  for (size_t tap = 0; tap < tile->taps; tap++) {
    const float *row[SGEMM_MR];
    if (tile->table) {
      SGEMM_UNROLL for (int i = 0; i < rows; i++) {
        const ptrdiff_t at = tile->table[(size_t)i * tile->table_stride + tap];
        row[i] = at < 0 ? tile->zero : tile->a + at;
      }
    } else {
      SGEMM_UNROLL for (int i = 0; i < rows; i++) row[i] = tile->a + (size_t)i * tile->a_row_stride;
    }
    for (size_t at = 0; at < k; at++) {
      v_f32 right[SGEMM_VECTORS];
      SGEMM_UNROLL for (int j = 0; j < vectors; j++) right[j] = v_load(b + j * V_LANES);
      SGEMM_UNROLL for (int i = 0; i < rows; i++) {
        const v_f32 left = v_splat(row[i][at]);
        SGEMM_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = v_fma(left, right[j], sum[i][j]);
      }
      b += SGEMM_NR;
    }
  }

  float *const c = tile->c;
  const size_t tail = tile->columns - (size_t)(vectors - 1) * V_LANES;
#define SGEMM_EACH                                                                                                     \
  SGEMM_UNROLL for (int i = 0; i < rows; i++) SGEMM_UNROLL for (int j = 0; j < vectors; j++)
#define SGEMM_LOAD(p) (j == vectors - 1 ? v_load_n((p) + j * V_LANES, tail) : v_load((p) + j * V_LANES))
  if (tile->load_c) SGEMM_EACH sum[i][j] = v_add(SGEMM_LOAD(c + (size_t)i * tile->c_stride), sum[i][j]);
  if (tile->last) {
    if (tile->bias) {
      v_f32 bias[SGEMM_VECTORS];
      SGEMM_UNROLL for (int j = 0; j < vectors; j++) bias[j] = SGEMM_LOAD(tile->bias);
      SGEMM_EACH sum[i][j] = v_add(sum[i][j], bias[j]);
    }
    if (tile->residual) {
      const size_t stride = tile->epilogue->residual_stride;
      SGEMM_EACH sum[i][j] = v_add(sum[i][j], SGEMM_LOAD(tile->residual + (size_t)i * stride));
    }
    const apus_activation activation = tile->epilogue->activation;
    const v_f32 alpha = v_splat(tile->epilogue->alpha), beta = v_splat(tile->epilogue->beta);
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
    SGEMM_UNROLL for (int j = 0; j + 1 < vectors; j++) v_store(to + j * V_LANES, sum[i][j]);
    v_store_n(to + (vectors - 1) * V_LANES, sum[i][vectors - 1], tail);
  }
#undef SGEMM_EACH
#undef SGEMM_LOAD
}

#define SGEMM_DEFINE(rows, vectors)                                                                                    \
  static void SGEMM_FUNCTION(rows, vectors)(const apus_sgemm_tile *tile) { SGEMM_BODY(tile, rows, vectors); }
#define SGEMM_ENTRY(rows, vectors) SGEMM_FUNCTION(rows, vectors),

#if SGEMM_MR == 14
#define SGEMM_ROWS(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v) X(13, v) X(14, v)
#elif SGEMM_MR == 12
#define SGEMM_ROWS(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v)
#elif SGEMM_MR == 8
#define SGEMM_ROWS(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v) X(7, v) X(8, v)
#elif SGEMM_MR == 6
#define SGEMM_ROWS(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#else
#error "list the rows of this SGEMM_MR"
#endif

#if SGEMM_VECTORS == 4
#define SGEMM_TILES(X) SGEMM_ROWS(X, 1) SGEMM_ROWS(X, 2) SGEMM_ROWS(X, 3) SGEMM_ROWS(X, 4)
#elif SGEMM_VECTORS == 3
#define SGEMM_TILES(X) SGEMM_ROWS(X, 1) SGEMM_ROWS(X, 2) SGEMM_ROWS(X, 3)
#elif SGEMM_VECTORS == 2
#define SGEMM_TILES(X) SGEMM_ROWS(X, 1) SGEMM_ROWS(X, 2)
#else
#error "list the vectors of this SGEMM_VECTORS"
#endif

SGEMM_TILES(SGEMM_DEFINE)

static const apus_sgemm_tile_function SGEMM_JOIN(sgemm_, SGEMM_NAME, tiles)[SGEMM_MR * SGEMM_VECTORS] = {
    SGEMM_TILES(SGEMM_ENTRY)};

const apus_sgemm_ops SGEMM_JOIN(apus_sgemm_ops, , SGEMM_NAME) = {SGEMM_JOIN(sgemm_, SGEMM_NAME, tiles), V_LANES};

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
#undef SGEMM_NAME
#undef SGEMM_MR
#undef SGEMM_VECTORS
