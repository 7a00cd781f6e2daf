// The micro-kernels, written once: rows for the usual windows, tiles for the others. Included after a vec_*.h and vec_tile.h, with
// DEPTHWISE_NAME (as in depthwise.def) and DEPTHWISE_PIXELS (neighbouring output pixels in a tile) defined. Rows and tiles
// sum an output in the same order.

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
DEPTHWISE_DEFINE(many_1, DEPTHWISE_PIXELS, 1)
DEPTHWISE_DEFINE(many_2, DEPTHWISE_PIXELS, 2)

// Rows. A tile reads every pixel of a row of its windows once, for all outputs that it is a tap of. The widths of images are
// multiples of seven more often than of eight.
enum { ROW_PIXELS = 7 };
#define ROW_EACH DEPTHWISE_UNROLL for (int i = 0; i < ROW_PIXELS; i++)

/// Sums of the outputs whose first tap is `input`. Only columns [low, high) of the input lie inside it; if not `any`, all but
/// the first or last ones of a window do.
APUS_INLINE void row_sums(const apus_depthwise_row *row, const float *input, const int taps, const int stride, const int any,
                          ptrdiff_t low, ptrdiff_t high, vf *sum) {
  const int columns = (ROW_PIXELS - 1) * stride + taps;
  const size_t pixel = row->pixel, weights_tap = row->weights_tap;
  const float *weights = row->weights;
  ROW_EACH sum[i] = v_set1(0);
  for (size_t y = 0; y < row->taps_high; y++) {
    vf weight[5];
    DEPTHWISE_UNROLL for (int t = 0; t < taps; t++) weight[t] = v_load(weights + (size_t)t * weights_tap);
    DEPTHWISE_UNROLL for (int at = 0; at < columns; at++) {
      if ((any || at < taps - 1) && at < low) continue;
      if ((any || at > columns - taps) && at >= high) continue;
      const vf x = v_load(input + (size_t)at * pixel);
      ROW_EACH {
        const int t = at - i * stride;
        if (t >= 0 && t < taps) sum[i] = v_fma(x, weight[t], sum[i]);
      }
    }
    input += row->tap_row;
    weights += row->weights_row;
  }
}

APUS_INLINE void row_body(const apus_depthwise_row *row, const int taps, const int stride) {
  const int columns = (ROW_PIXELS - 1) * stride + taps;
  const apus_activation activation = row->epilogue->activation;
  const vf alpha = v_set1(row->epilogue->alpha), beta = v_set1(row->epilogue->beta);
  for (size_t x = 0; x < row->output_width; x += ROW_PIXELS) {
    const size_t count = row->output_width - x < ROW_PIXELS ? row->output_width - x : ROW_PIXELS;
    const ptrdiff_t first = (ptrdiff_t)(x * (size_t)stride) - (ptrdiff_t)row->pad;
    const ptrdiff_t needed = (ptrdiff_t)(count - 1) * stride + taps, inside = (ptrdiff_t)row->width - first;
    const ptrdiff_t low = first < 0 ? -first : 0, high = inside < needed ? inside : needed;
    const float *input = row->input + first * (ptrdiff_t)row->pixel;
    vf sum[ROW_PIXELS];
    if (low < taps && high > columns - taps)
      row_sums(row, input, taps, stride, 0, low, high, sum);
    else
      row_sums(row, input, taps, stride, 1, low, high, sum);
    if (row->bias) {
      const vf bias = v_load(row->bias);
      ROW_EACH sum[i] = v_add(sum[i], bias);
    }
    if (row->residual) {
      const float *residual = row->residual + x * row->epilogue->residual_stride;
      ROW_EACH if ((size_t)i < count) sum[i] = v_add(sum[i], v_load(residual + (size_t)i * row->epilogue->residual_stride));
    }
    switch (activation) {
#define ROW_ACTIVATE(which) case which: ROW_EACH sum[i] = v_activate(sum[i], which, alpha, beta); break;
      ROW_ACTIVATE(APUS_ACTIVATION_RELU)
      ROW_ACTIVATE(APUS_ACTIVATION_CLAMP)
      ROW_ACTIVATE(APUS_ACTIVATION_LEAKY_RELU)
      ROW_ACTIVATE(APUS_ACTIVATION_HARD_SIGMOID)
      ROW_ACTIVATE(APUS_ACTIVATION_HARD_SWISH)
#undef ROW_ACTIVATE
    case APUS_ACTIVATION_NONE:
    case APUS_ACTIVATION_FUNCTION: break;
    }
    float *output = row->output + x * row->output_pixel;
    ROW_EACH if ((size_t)i < count) v_store(output + (size_t)i * row->output_pixel, sum[i]);
  }
}

static void row_3_1(const apus_depthwise_row *row) { row_body(row, 3, 1); }
static void row_3_2(const apus_depthwise_row *row) { row_body(row, 3, 2); }
static void row_5_1(const apus_depthwise_row *row) { row_body(row, 5, 1); }
static void row_5_2(const apus_depthwise_row *row) { row_body(row, 5, 2); }

#define DEPTHWISE_JOIN_(a, b) a##b
#define DEPTHWISE_JOIN(a, b) DEPTHWISE_JOIN_(a, b)
const apus_depthwise_ops DEPTHWISE_JOIN(apus_depthwise_ops_, DEPTHWISE_NAME) = {
    DEPTHWISE_PIXELS, VW, {one_1, one_2}, {many_1, many_2}, {{row_3_1, row_3_2}, {row_5_1, row_5_2}}};
