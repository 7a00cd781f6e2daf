// The transforms, written once. Included after a vec_*.h and vec_tile.h, with WINOGRAD_LEVEL defined.
//
// In one dimension, with Vandermonde matrices of the points 0, ±x for each x of a table, infinity: row i of Bᵀ holds the
// coefficients of the product of (t - point) over the other finite points, Aᵀ the powers of the points. The points are
// constants where these functions are inlined, and with them every coefficient.

#ifdef APUS_VEC_SCALES
// With masks any number of channels will do.
#define WINOGRAD_MULTIPLE 1
#define WINOGRAD_LANES(left) (left < VW ? left : VW)
#define WINOGRAD_LOAD(p, n) v_load_n(p, n)
#define WINOGRAD_STORE(p, n, x) v_store_n(p, n, x)
#else
#define WINOGRAD_MULTIPLE VW
#define WINOGRAD_LANES(left) VW
#define WINOGRAD_LOAD(p, n) ((void)(n), v_load(p))
#define WINOGRAD_STORE(p, n, x) ((void)(n), v_store(p, x))
#endif

#define WINOGRAD_UNROLL _Pragma("clang loop unroll(full)")
#define WINOGRAD_LOOP _Pragma("clang loop unroll(disable)")

/// The coefficients, lowest first, of the product of (t - x²) over the table but for one of its elements.
APUS_INLINE void winograd_product(const double *x, const int pairs, const int without, double *c) {
  c[0] = 1;
  WINOGRAD_UNROLL for (int i = 1; i <= pairs; i++) c[i] = 0;
  WINOGRAD_UNROLL for (int p = 0; p < pairs; p++) {
    if (p == without) continue;
    WINOGRAD_UNROLL for (int i = pairs; i > 0; i--) c[i] = c[i - 1] - x[p] * x[p] * c[i];
    c[0] *= -x[p] * x[p];
  }
}

/// Bᵀ: as many values as points, `step` vectors apart.
APUS_INLINE void winograd_in(const double *x, const int pairs, const vf *d, const int step, vf *r) {
  double all[8], own[8];
  winograd_product(x, pairs, -1, all);
  vf first = d[2 * pairs * step], last = d[(2 * pairs + 1) * step];
  WINOGRAD_UNROLL for (int i = pairs - 1; i >= 0; i--) {
    first = v_fma(v_set1((float)all[i]), d[2 * i * step], first);
    last = v_fma(v_set1((float)all[i]), d[(2 * i + 1) * step], last);
  }
  r[0] = first;
  WINOGRAD_UNROLL for (int p = 0; p < pairs; p++) {
    winograd_product(x, pairs, p, own);
    vf even = d[2 * pairs * step], odd = v_mul(v_set1((float)x[p]), d[(2 * pairs - 1) * step]);
    WINOGRAD_UNROLL for (int i = pairs - 2; i >= 0; i--) {
      even = v_fma(v_set1((float)own[i]), d[(2 * i + 2) * step], even);
      odd = v_fma(v_set1((float)(own[i] * x[p])), d[(2 * i + 1) * step], odd);
    }
    r[1 + 2 * p] = v_add(even, odd);
    r[2 + 2 * p] = v_sub(even, odd);
  }
  r[2 * pairs + 1] = last;
}

/// Aᵀ: as many values as points to `tile` ones.
APUS_INLINE void winograd_out(const double *x, const int pairs, const int tile, const vf *m, const int step, vf *r) {
  vf sums[2][4];
  double power[4];
  WINOGRAD_UNROLL for (int p = 0; p < pairs; p++) {
    sums[0][p] = v_add(m[(1 + 2 * p) * step], m[(2 + 2 * p) * step]);
    sums[1][p] = v_sub(m[(1 + 2 * p) * step], m[(2 + 2 * p) * step]);
    power[p] = 1;
  }
  WINOGRAD_UNROLL for (int j = 0; j < tile; j++) {
    vf sum = power[0] == 1 ? sums[j & 1][0] : v_mul(v_set1((float)power[0]), sums[j & 1][0]);
    power[0] *= x[0];
    WINOGRAD_UNROLL for (int p = 1; p < pairs; p++) {
      sum = v_fma(v_set1((float)power[p]), sums[j & 1][p], sum);
      power[p] *= x[p];
    }
    if (j == 0) sum = v_add(m[0], sum);
    if (j == tile - 1) sum = v_add(m[(2 * pairs + 1) * step], sum);
    r[j] = sum;
  }
}

/// G: `window` taps to as many values as points.
APUS_INLINE void winograd_taps(const double *x, const int pairs, const int window, const vf *g, const int step, vf *r) {
  double own[8];
  winograd_product(x, pairs, -1, own);
  r[0] = v_mul(v_set1((float)(1 / own[0])), g[0]);
  WINOGRAD_UNROLL for (int p = 0; p < pairs; p++) {
    // The product of the point's distances from the other finite ones.
    double distances = 2 * x[p] * x[p];
    WINOGRAD_UNROLL for (int i = 0; i < pairs; i++) if (i != p) distances *= x[p] * x[p] - x[i] * x[i];
    double power = 1 / distances;
    vf sums[2];
    WINOGRAD_UNROLL for (int j = 0; j < window; j++) {
      const vf c = v_set1((float)power);
      sums[j & 1] = j < 2 ? v_mul(c, g[j * step]) : v_fma(c, g[j * step], sums[j & 1]);
      power *= x[p];
    }
    r[1 + 2 * p] = v_add(sums[0], sums[1]);
    r[2 + 2 * p] = v_sub(sums[0], sums[1]);
  }
  r[2 * pairs + 1] = g[(window - 1) * step];
}

/// Bias, residual and activation of a square's outputs. Loops, not unrolled: the transforms around them are long enough.
APUS_INLINE void winograd_finish(vf *out, const int outputs, const size_t c, const size_t count, float *const *pixels,
                                 const float *const *residuals, const apus_epilogue *epilogue) {
  if (epilogue->bias) {
    const vf bias = WINOGRAD_LOAD(epilogue->bias + c, count);
    WINOGRAD_LOOP for (int i = 0; i < outputs; i++) out[i] = v_add(out[i], bias);
  }
  if (residuals) {
    WINOGRAD_LOOP for (int i = 0; i < outputs; i++)
        if (residuals[i]) out[i] = v_add(out[i], WINOGRAD_LOAD(residuals[i] + c, count));
  }
  const vf alpha = v_set1(epilogue->alpha), beta = v_set1(epilogue->beta);
  switch (epilogue->activation) {
#define WINOGRAD_ACTIVATE(which)                                                                                       \
  case which:                                                                                                          \
    WINOGRAD_LOOP for (int i = 0; i < outputs; i++) out[i] = v_activate(out[i], which, alpha, beta);                   \
    break;
    WINOGRAD_ACTIVATE(APUS_ACTIVATION_RELU)
    WINOGRAD_ACTIVATE(APUS_ACTIVATION_CLAMP)
    WINOGRAD_ACTIVATE(APUS_ACTIVATION_LEAKY_RELU)
    WINOGRAD_ACTIVATE(APUS_ACTIVATION_HARD_SIGMOID)
    WINOGRAD_ACTIVATE(APUS_ACTIVATION_HARD_SWISH)
#undef WINOGRAD_ACTIVATE
  case APUS_ACTIVATION_NONE:
  case APUS_ACTIVATION_FUNCTION: break;
  }
  WINOGRAD_LOOP for (int i = 0; i < outputs; i++)
      if (pixels[i]) WINOGRAD_STORE(pixels[i] + c, count, out[i]);
}

APUS_INLINE void winograd_input_lanes(const double *x, const int pairs, const int axes, const float *const *pixels,
                                      const size_t c, const size_t count, float *v, const size_t position_stride) {
  const int side = 2 * pairs + 2, across = axes == 2 ? side : 1;
  vf half[APUS_WINOGRAD_MOST_POSITIONS], column[APUS_WINOGRAD_MOST_POINTS], r[APUS_WINOGRAD_MOST_POINTS];
  WINOGRAD_UNROLL for (int i = 0; i < across; i++) {
    WINOGRAD_UNROLL for (int y = 0; y < side; y++) column[y] = WINOGRAD_LOAD(pixels[y * across + i] + c, count);
    winograd_in(x, pairs, column, 1, r);
    WINOGRAD_UNROLL for (int y = 0; y < side; y++) half[y * across + i] = r[y];
  }
  WINOGRAD_UNROLL for (int y = 0; y < side; y++) {
    r[0] = half[y * across];
    if (axes == 2) winograd_in(x, pairs, half + y * across, 1, r);
    WINOGRAD_UNROLL for (int i = 0; i < across; i++)
        WINOGRAD_STORE(v + (size_t)(y * across + i) * position_stride + c, count, r[i]);
  }
}

APUS_INLINE void winograd_output_lanes(const double *x, const int pairs, const int axes, const int tile, const float *m,
                                       const size_t position_stride, const size_t c, const size_t count, float *const *pixels,
                                       const float *const *residuals, const apus_epilogue *epilogue) {
  const int side = 2 * pairs + 2, across = axes == 2 ? side : 1, wide = axes == 2 ? tile : 1;
  vf half[APUS_WINOGRAD_MOST_POSITIONS], column[APUS_WINOGRAD_MOST_POINTS], r[APUS_WINOGRAD_MOST_POINTS];
  vf out[APUS_WINOGRAD_MOST_OUTPUTS];
  WINOGRAD_UNROLL for (int i = 0; i < across; i++) {
    WINOGRAD_UNROLL for (int y = 0; y < side; y++)
        column[y] = WINOGRAD_LOAD(m + (size_t)(y * across + i) * position_stride + c, count);
    winograd_out(x, pairs, tile, column, 1, r);
    WINOGRAD_UNROLL for (int y = 0; y < tile; y++) half[y * across + i] = r[y];
  }
  WINOGRAD_UNROLL for (int y = 0; y < tile; y++) {
    out[y * wide] = half[y * across];
    if (axes == 2) winograd_out(x, pairs, tile, half + y * across, 1, out + y * wide);
  }
  winograd_finish(out, tile * wide, c, count, pixels, residuals, epilogue);
}

APUS_INLINE void winograd_weights_lanes(const double *x, const int pairs, const int axes, const int window, const float *packed,
                                        const size_t tap_stride, const size_t c, const size_t count, float *u,
                                        const size_t position_stride) {
  const int side = 2 * pairs + 2, across = axes == 2 ? window : 1, wide = axes == 2 ? side : 1;
  vf half[APUS_WINOGRAD_MOST_POSITIONS], column[APUS_WINOGRAD_MOST_POINTS], r[APUS_WINOGRAD_MOST_POINTS];
  WINOGRAD_UNROLL for (int i = 0; i < across; i++) {
    WINOGRAD_UNROLL for (int y = 0; y < window; y++)
        column[y] = WINOGRAD_LOAD(packed + (size_t)(y * across + i) * tap_stride + c, count);
    winograd_taps(x, pairs, window, column, 1, r);
    WINOGRAD_UNROLL for (int y = 0; y < side; y++) half[y * across + i] = r[y];
  }
  WINOGRAD_UNROLL for (int y = 0; y < side; y++) {
    r[0] = half[y * across];
    if (axes == 2) winograd_taps(x, pairs, window, half + y * across, 1, r);
    WINOGRAD_UNROLL for (int i = 0; i < wide; i++)
        WINOGRAD_STORE(u + (size_t)(y * wide + i) * position_stride + c, count, r[i]);
  }
}

/// `call` with (c, lanes) for every vector of `count` floats.
#define WINOGRAD_VECTORS(count, call)                                                                                  \
  for (size_t c = 0; c < count; c += VW) call(c, WINOGRAD_LANES(count - c));

#define WINOGRAD_POINTS(POINTS) apus_winograd_points_##POINTS, POINTS / 2 - 1

#define WINOGRAD_INPUT(AXES, POINTS)                                                                                   \
  static void winograd_input_##AXES##_##POINTS(const float *const *pixels, size_t channels, float *v,                  \
                                               size_t position_stride) {                                               \
    WINOGRAD_VECTORS(channels, WINOGRAD_INPUT_##AXES##_##POINTS)                                                       \
  }
#define WINOGRAD_INPUT_2_4(c, n) winograd_input_lanes(WINOGRAD_POINTS(4), 2, pixels, c, n, v, position_stride)
#define WINOGRAD_INPUT_2_6(c, n) winograd_input_lanes(WINOGRAD_POINTS(6), 2, pixels, c, n, v, position_stride)
#define WINOGRAD_INPUT_1_6(c, n) winograd_input_lanes(WINOGRAD_POINTS(6), 1, pixels, c, n, v, position_stride)
#define WINOGRAD_INPUT_1_10(c, n) winograd_input_lanes(WINOGRAD_POINTS(10), 1, pixels, c, n, v, position_stride)

// The windows' own transforms share those of their input.
WINOGRAD_INPUT(2, 4)
WINOGRAD_INPUT(2, 6)
WINOGRAD_INPUT(1, 6)
WINOGRAD_INPUT(1, 10)

#define WINOGRAD_JOIN_(a, b, c, d) a##b##c##d
#define WINOGRAD_JOIN(a, b, c, d) WINOGRAD_JOIN_(a, b, c, d)
#define WINOGRAD_WEIGHTS(c, n) winograd_weights_lanes(points, pairs, axes, window, packed, tap_stride, c, n, u, position_stride)
#define WINOGRAD_OUTPUT(c, n) \
  winograd_output_lanes(points, pairs, axes, tile, m, position_stride, c, n, pixels, residuals, epilogue)

#define WINOGRAD_WEIGHTS_OF(TILE, POINTS)                                                                              \
  static void winograd_weights_##TILE(const float *packed, size_t tap_stride, size_t count, float *u,                  \
                                      size_t position_stride) {                                                        \
    const double *const points = apus_winograd_points_##POINTS;                                                        \
    enum { pairs = POINTS / 2 - 1, axes = 2, window = 3 };                                                               \
    WINOGRAD_VECTORS(count, WINOGRAD_WEIGHTS)                                                                          \
  }
// Only windows of 3×3 have their weights transformed in runs.
WINOGRAD_WEIGHTS_OF(2, 4)
WINOGRAD_WEIGHTS_OF(4, 6)
#define WINOGRAD_IN_RUN_f4x4_3x3 winograd_weights_4
#define WINOGRAD_IN_RUN_f2x2_3x3 winograd_weights_2
#define WINOGRAD_IN_RUN_f2x2_5x5 NULL
#define WINOGRAD_IN_RUN_f3x3_2x2 NULL
#define WINOGRAD_IN_RUN_f4_3 NULL
#define WINOGRAD_IN_RUN_f4_7 NULL

#define APUS_WINOGRAD_FORM(NAME, AXES, WINDOW, TILE, POINTS)                                                           \
  static void winograd_output_##NAME(const float *m, size_t position_stride, size_t channels, float *const *pixels,    \
                                     const float *const *residuals, const apus_epilogue *epilogue) {                   \
    const double *const points = apus_winograd_points_##POINTS;                                                        \
    enum { pairs = POINTS / 2 - 1, axes = AXES, tile = TILE };                                                         \
    WINOGRAD_VECTORS(channels, WINOGRAD_OUTPUT)                                                                        \
  }                                                                                                                    \
  const apus_winograd_ops WINOGRAD_JOIN(apus_winograd_ops_, WINOGRAD_LEVEL, _, NAME) = {                               \
      WINOGRAD_MULTIPLE, winograd_input_##AXES##_##POINTS, winograd_output_##NAME, WINOGRAD_IN_RUN_##NAME};

#include "winograd.def"
