// The micro-kernel, written once. Included after a vec_*.h and vec_tile.h, with DEPTHWISE_NAME (as in depthwise.def) and
// DEPTHWISE_PIXELS (neighbouring output pixels computed together) defined.

#define DEPTHWISE_UNROLL _Pragma("clang loop unroll(full)")
#define DEPTHWISE_EACH                                                                                                 \
  DEPTHWISE_UNROLL for (int i = 0; i < pixels; i++) DEPTHWISE_UNROLL for (int j = 0; j < vectors; j++)
/// The last vector may be a part of one; the others are whole.
#define DEPTHWISE_LOAD(p) (partial && j == vectors - 1 ? v_load_upto((p) + j * VW, tail) : v_load((p) + j * VW))

APUS_INLINE void depthwise_body(const apus_depthwise_tile *tile, const int pixels, const int vectors, const int partial) {
  const size_t tail = tile->channels - (size_t)(vectors - 1) * VW;
  vf sum[DEPTHWISE_PIXELS][APUS_DEPTHWISE_VECTORS];
  DEPTHWISE_EACH sum[i][j] = v_set1(0);
  for (size_t y = 0; y < tile->taps_high; y++) {
    const float *input = tile->input + y * tile->tap_row;
    const float *weights = tile->weights + y * tile->weights_row;
    for (size_t x = 0; x < tile->taps_wide; x++) {
      vf weight[APUS_DEPTHWISE_VECTORS];
      DEPTHWISE_UNROLL for (int j = 0; j < vectors; j++) weight[j] = DEPTHWISE_LOAD(weights);
      DEPTHWISE_EACH sum[i][j] = v_fma(DEPTHWISE_LOAD(input + (size_t)i * tile->pixel), weight[j], sum[i][j]);
      input += tile->tap;
      weights += tile->weights_tap;
    }
  }
  if (tile->bias) {
    vf bias[APUS_DEPTHWISE_VECTORS];
    DEPTHWISE_UNROLL for (int j = 0; j < vectors; j++) bias[j] = DEPTHWISE_LOAD(tile->bias);
    DEPTHWISE_EACH sum[i][j] = v_add(sum[i][j], bias[j]);
  }
  if (tile->residual) {
    const size_t stride = tile->epilogue->residual_stride;
    DEPTHWISE_EACH sum[i][j] = v_add(sum[i][j], DEPTHWISE_LOAD(tile->residual + (size_t)i * stride));
  }
  const vf alpha = v_set1(tile->epilogue->alpha), beta = v_set1(tile->epilogue->beta);
  switch (tile->epilogue->activation) {
#define DEPTHWISE_ACTIVATE(which) case which: DEPTHWISE_EACH sum[i][j] = v_activate(sum[i][j], which, alpha, beta); break;
    DEPTHWISE_ACTIVATE(APUS_ACTIVATION_RELU)
    DEPTHWISE_ACTIVATE(APUS_ACTIVATION_CLAMP)
    DEPTHWISE_ACTIVATE(APUS_ACTIVATION_LEAKY_RELU)
    DEPTHWISE_ACTIVATE(APUS_ACTIVATION_HARD_SIGMOID)
    DEPTHWISE_ACTIVATE(APUS_ACTIVATION_HARD_SWISH)
#undef DEPTHWISE_ACTIVATE
  case APUS_ACTIVATION_NONE:
  case APUS_ACTIVATION_FUNCTION: break;
  }
  DEPTHWISE_EACH {
    float *const to = tile->output + (size_t)i * tile->output_pixel + j * VW;
    if (partial && j == vectors - 1)
      v_store_upto(to, tail, sum[i][j]);
    else
      v_store(to, sum[i][j]);
  }
}

#define DEPTHWISE_DEFINE(name, pixels, vectors)                                                                        \
  static void name(const apus_depthwise_tile *tile) {                                                                  \
    if (tile->channels == (vectors)*VW)                                                                           \
      depthwise_body(tile, pixels, vectors, 0);                                                                        \
    else                                                                                                               \
      depthwise_body(tile, pixels, vectors, 1);                                                                        \
  }
DEPTHWISE_DEFINE(one_1, 1, 1)
DEPTHWISE_DEFINE(one_2, 1, 2)
DEPTHWISE_DEFINE(some_1, DEPTHWISE_PIXELS / 2, 1)
DEPTHWISE_DEFINE(some_2, DEPTHWISE_PIXELS / 2, 2)
DEPTHWISE_DEFINE(many_1, DEPTHWISE_PIXELS, 1)
DEPTHWISE_DEFINE(many_2, DEPTHWISE_PIXELS, 2)

#define DEPTHWISE_JOIN_(a, b) a##b
#define DEPTHWISE_JOIN(a, b) DEPTHWISE_JOIN_(a, b)
const apus_depthwise_ops DEPTHWISE_JOIN(apus_depthwise_ops_, DEPTHWISE_NAME) = {
    DEPTHWISE_PIXELS, VW, {one_1, one_2}, {some_1, some_2}, {many_1, many_2}};
