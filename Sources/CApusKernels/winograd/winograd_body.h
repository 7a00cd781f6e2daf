// The transforms, written once. Included after a vec_*.h and vec_tile.h, with WINOGRAD_LEVEL defined.
//
// In one dimension, with Vandermonde matrices of the points 0, ±a, ±b (a² = ½, b² = 2, so a²b² = 1), infinity:
// row i of Bᵀ holds the coefficients of the product of (x - point) over the other finite points, Aᵀ the powers of the points.

#define WINOGRAD_UNROLL _Pragma("clang loop unroll(full)")
#define WINOGRAD_LOOP _Pragma("clang loop unroll(disable)")
#define WINOGRAD_ROOT_HALF 0x1.6a09e6p-1f
#define WINOGRAD_ROOT_TWO 0x1.6a09e6p0f

/// Bᵀ for tile 4: six values, `step` vectors apart.
APUS_INLINE void winograd_in_4(const vf *d, const int step, vf *r) {
  const vf half = v_set1(0.5f), two = v_set1(2), sum = v_set1(2.5f), root_half = v_set1(WINOGRAD_ROOT_HALF),
           root_two = v_set1(WINOGRAD_ROOT_TWO);
  const vf d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const vf even_a = v_fnma(two, d2, d4), odd_a = v_fnma(root_two, d1, v_mul(root_half, d3));
  const vf even_b = v_fnma(half, d2, d4), odd_b = v_fnma(root_half, d1, v_mul(root_two, d3));
  r[0] = v_fnma(sum, d2, v_add(d0, d4));
  r[1] = v_add(even_a, odd_a);
  r[2] = v_sub(even_a, odd_a);
  r[3] = v_add(even_b, odd_b);
  r[4] = v_sub(even_b, odd_b);
  r[5] = v_fnma(sum, d3, v_add(d1, d5));
}

/// Aᵀ for tile 4: six values to four.
APUS_INLINE void winograd_out_4(const vf *m, const int step, vf *r) {
  const vf m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step], m5 = m[5 * step];
  const vf even_a = v_add(m1, m2), odd_a = v_sub(m1, m2), even_b = v_add(m3, m4), odd_b = v_sub(m3, m4);
  const vf half = v_set1(0.5f), two = v_set1(2);
  r[0] = v_add(m0, v_add(even_a, even_b));
  r[1] = v_fma(v_set1(WINOGRAD_ROOT_TWO), odd_b, v_mul(v_set1(WINOGRAD_ROOT_HALF), odd_a));
  r[2] = v_fma(two, even_b, v_mul(half, even_a));
  // a³ = a/2, b³ = 2b
  r[3] = v_add(m5, v_fma(v_set1(2 * WINOGRAD_ROOT_TWO), odd_b, v_mul(v_set1(WINOGRAD_ROOT_HALF / 2), odd_a)));
}

/// Bᵀ for tile 2, with the first row's sign turned so that U needs none.
APUS_INLINE void winograd_in_2(const vf *d, const int step, vf *r) {
  const vf d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  r[0] = v_sub(d0, d2);
  r[1] = v_add(d1, d2);
  r[2] = v_sub(d2, d1);
  r[3] = v_sub(d3, d1);
}

/// Aᵀ for tile 2: four values to two.
APUS_INLINE void winograd_out_2(const vf *m, const int step, vf *r) {
  const vf m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step];
  r[0] = v_add(m0, v_add(m1, m2));
  r[1] = v_add(v_sub(m1, m2), m3);
}

/// G for tile 4: three taps to six values.
APUS_INLINE void winograd_taps_4(const vf *g, const int step, vf *r) {
  const vf g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const vf third = v_set1(1.0f / 3), sixth = v_set1(1.0f / 6);
  const vf even_a = v_fnma(third, g2, v_mul(v_set1(-2.0f / 3), g0)), odd_a = v_mul(v_set1(-2.0f / 3 * WINOGRAD_ROOT_HALF), g1);
  const vf even_b = v_fma(sixth, g0, v_mul(third, g2)), odd_b = v_mul(v_set1(WINOGRAD_ROOT_TWO / 6), g1);
  r[0] = g0;
  r[1] = v_add(even_a, odd_a);
  r[2] = v_sub(even_a, odd_a);
  r[3] = v_add(even_b, odd_b);
  r[4] = v_sub(even_b, odd_b);
  r[5] = g2;
}

/// G for tile 2: three taps to four values.
APUS_INLINE void winograd_taps_2(const vf *g, const int step, vf *r) {
  const vf g0 = g[0], g1 = g[step], g2 = g[2 * step], half = v_set1(0.5f);
  const vf even = v_mul(half, v_add(g0, g2)), odd = v_mul(half, g1);
  r[0] = g0;
  r[1] = v_add(even, odd);
  r[2] = v_sub(even, odd);
  r[3] = g2;
}

/// Bias, residual and activation of a square's outputs. Loops, not unrolled: the transforms around them are long enough.
APUS_INLINE void winograd_finish(vf *out, const int outputs, const size_t c, const size_t count, float *const *pixels,
                                 const float *const *residuals, const apus_epilogue *epilogue) {
  if (epilogue->bias) {
    const vf bias = v_load_upto(epilogue->bias + c, count);
    WINOGRAD_LOOP for (int i = 0; i < outputs; i++) out[i] = v_add(out[i], bias);
  }
  if (residuals) {
    WINOGRAD_LOOP for (int i = 0; i < outputs; i++)
        if (residuals[i]) out[i] = v_add(out[i], v_load_upto(residuals[i] + c, count));
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
      if (pixels[i]) v_store_upto(pixels[i] + c, count, out[i]);
}

#define WINOGRAD_DEFINE(TILE)                                                                                          \
  static void winograd_weights_##TILE(const float *packed, size_t tap_stride, size_t count, float *u,                  \
                                      size_t position_stride) {                                                        \
    enum { side = TILE + 2 };                                                                                          \
    for (size_t c = 0; c < count; c += VW) {                                                                           \
      const size_t lanes = count - c < VW ? count - c : VW;                                                            \
      vf half[side * 3];                                                                                               \
      WINOGRAD_UNROLL for (int x = 0; x < 3; x++) {                                                                    \
        vf column[3], r[side];                                                                                         \
        WINOGRAD_UNROLL for (int y = 0; y < 3; y++)                                                                    \
            column[y] = v_load_upto(packed + (size_t)(y * 3 + x) * tap_stride + c, lanes);                             \
        winograd_taps_##TILE(column, 1, r);                                                                            \
        WINOGRAD_UNROLL for (int y = 0; y < side; y++) half[y * 3 + x] = r[y];                                         \
      }                                                                                                                \
      WINOGRAD_UNROLL for (int y = 0; y < side; y++) {                                                                 \
        vf r[side];                                                                                                    \
        winograd_taps_##TILE(half + y * 3, 1, r);                                                                      \
        WINOGRAD_UNROLL for (int x = 0; x < side; x++)                                                                 \
            v_store_upto(u + (size_t)(y * side + x) * position_stride + c, lanes, r[x]);                               \
      }                                                                                                                \
    }                                                                                                                  \
  }                                                                                                                    \
  APUS_INLINE void winograd_input_lanes_##TILE(const float *const *pixels, const size_t c, const size_t count, float *v, \
                                               const size_t position_stride) {                                        \
    enum { side = TILE + 2 };                                                                                          \
    vf half[side * side];                                                                                              \
    WINOGRAD_UNROLL for (int x = 0; x < side; x++) {                                                                   \
      vf column[side], r[side];                                                                                        \
      WINOGRAD_UNROLL for (int y = 0; y < side; y++) column[y] = v_load_upto(pixels[y * side + x] + c, count);         \
      winograd_in_##TILE(column, 1, r);                                                                                \
      WINOGRAD_UNROLL for (int y = 0; y < side; y++) half[y * side + x] = r[y];                                        \
    }                                                                                                                  \
    WINOGRAD_UNROLL for (int y = 0; y < side; y++) {                                                                   \
      vf r[side];                                                                                                      \
      winograd_in_##TILE(half + y * side, 1, r);                                                                       \
      WINOGRAD_UNROLL for (int x = 0; x < side; x++)                                                                   \
          v_store_upto(v + (size_t)(y * side + x) * position_stride + c, count, r[x]);                                 \
    }                                                                                                                  \
  }                                                                                                                    \
  static void winograd_input_##TILE(const float *const *pixels, size_t channels, float *v, size_t position_stride) {   \
    size_t c = 0;                                                                                                      \
    for (; c + VW <= channels; c += VW) winograd_input_lanes_##TILE(pixels, c, VW, v, position_stride);                \
    if (c < channels) winograd_input_lanes_##TILE(pixels, c, channels - c, v, position_stride);                        \
  }                                                                                                                    \
  APUS_INLINE void winograd_output_lanes_##TILE(const float *m, const size_t position_stride, const size_t c,          \
                                                const size_t count, float *const *pixels,                              \
                                                const float *const *residuals, const apus_epilogue *epilogue) {        \
    enum { side = TILE + 2 };                                                                                          \
    vf half[TILE * side], out[TILE * TILE];                                                                            \
    WINOGRAD_UNROLL for (int x = 0; x < side; x++) {                                                                   \
      vf column[side], r[TILE];                                                                                        \
      WINOGRAD_UNROLL for (int y = 0; y < side; y++)                                                                   \
          column[y] = v_load_upto(m + (size_t)(y * side + x) * position_stride + c, count);                            \
      winograd_out_##TILE(column, 1, r);                                                                               \
      WINOGRAD_UNROLL for (int y = 0; y < TILE; y++) half[y * side + x] = r[y];                                        \
    }                                                                                                                  \
    WINOGRAD_UNROLL for (int y = 0; y < TILE; y++) winograd_out_##TILE(half + y * side, 1, out + y * TILE);            \
    winograd_finish(out, TILE * TILE, c, count, pixels, residuals, epilogue);                                          \
  }                                                                                                                    \
  static void winograd_output_##TILE(const float *m, size_t position_stride, size_t channels, float *const *pixels,    \
                                     const float *const *residuals, const apus_epilogue *epilogue) {                   \
    size_t c = 0;                                                                                                      \
    for (; c + VW <= channels; c += VW)                                                                                \
      winograd_output_lanes_##TILE(m, position_stride, c, VW, pixels, residuals, epilogue);                            \
    if (c < channels) winograd_output_lanes_##TILE(m, position_stride, c, channels - c, pixels, residuals, epilogue);  \
  }

WINOGRAD_DEFINE(2)
WINOGRAD_DEFINE(4)

#define WINOGRAD_JOIN_(a, b, c) a##b##c
#define WINOGRAD_JOIN(a, b, c) WINOGRAD_JOIN_(a, b, c)
const apus_winograd_ops WINOGRAD_JOIN(apus_winograd_ops_, WINOGRAD_LEVEL, _2) = {winograd_input_2, winograd_output_2, winograd_weights_2};
const apus_winograd_ops WINOGRAD_JOIN(apus_winograd_ops_, WINOGRAD_LEVEL, _4) = {winograd_input_4, winograd_output_4, winograd_weights_4};
