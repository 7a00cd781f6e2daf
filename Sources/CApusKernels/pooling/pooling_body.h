// Pooling, written once. Included after a vec_*.h and vec_tile.h, with POOLING_NAME (as in pooling.def) defined.

#define POOLING_UNROLL _Pragma("clang loop unroll(full)")
#define POOLING_JOIN_(a, b) a##b
#define POOLING_JOIN(a, b) POOLING_JOIN_(a, b)
#define POOLING_FUNCTION(name) POOLING_JOIN(name, POOLING_NAME)
/// The last vector may be a part of one; the others are whole.
#define POOLING_LOAD(p) (partial && j == vectors - 1 ? v_load_upto((p) + j * VW, tail) : v_load((p) + j * VW))

enum { POOLING_VECTORS = 4 };

/// `vectors` vectors of channels of one pixel, the last one of `tail` channels if it is partial.
APUS_INLINE void pooling_tile(const float *input, const ptrdiff_t *taps, size_t count, float *output, float scale,
                           const int maximum, const int vectors, const int partial, size_t tail) {
  vf result[POOLING_VECTORS];
  POOLING_UNROLL for (int j = 0; j < vectors; j++) result[j] = v_set1(maximum ? -__builtin_inff() : 0);
  for (size_t t = 0; t < count; t++) {
    if (taps[t] < 0) continue;
    const float *from = input + taps[t];
    POOLING_UNROLL for (int j = 0; j < vectors; j++) {
      const vf x = POOLING_LOAD(from);
      result[j] = maximum ? v_max_or_nan(result[j], x) : v_add(result[j], x);
    }
  }
  POOLING_UNROLL for (int j = 0; j < vectors; j++) {
    if (!maximum) result[j] = v_mul(result[j], v_set1(scale));
    if (partial && j == vectors - 1)
      v_store_upto(output + j * VW, tail, result[j]);
    else
      v_store(output + j * VW, result[j]);
  }
}

APUS_INLINE void pooling_run(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end, const int maximum) {
  for (size_t p = pixel_begin; p < pixel_end; p++) {
    const ptrdiff_t *taps = args->table + p * args->taps;
    float *output = args->output + p * args->output_stride;
    float scale = 0;
    if (!maximum) {
      if (args->scales) {
        scale = args->scales[p];
      } else {
        size_t inside = 0;
        for (size_t t = 0; t < args->taps; t++) inside += taps[t] >= 0;
        scale = inside ? 1.0f / (float)inside : 0;
      }
    }
    size_t c = 0;
    for (; c + POOLING_VECTORS * VW <= args->channels; c += POOLING_VECTORS * VW)
      pooling_tile(args->input + c, taps, args->taps, output + c, scale, maximum, POOLING_VECTORS, 0, VW);
    for (; c + VW <= args->channels; c += VW)
      pooling_tile(args->input + c, taps, args->taps, output + c, scale, maximum, 1, 0, VW);
    if (c < args->channels)
      pooling_tile(args->input + c, taps, args->taps, output + c, scale, maximum, 1, 1, args->channels - c);
  }
}

void POOLING_FUNCTION(apus_max_pool_)(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end) {
  pooling_run(args, pixel_begin, pixel_end, 1);
}

void POOLING_FUNCTION(apus_average_pool_)(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end) {
  pooling_run(args, pixel_begin, pixel_end, 0);
}

APUS_INLINE void sum_rows_tile(size_t rows, const float *input, size_t stride, float scale, float *output,
                            const int vectors, const int partial, size_t tail) {
  vf total[POOLING_VECTORS];
  POOLING_UNROLL for (int j = 0; j < vectors; j++) total[j] = v_set1(0);
  for (size_t r = 0; r < rows;) {
    const size_t end = rows - r < 64 ? rows : r + 64;
    vf group[POOLING_VECTORS];
    POOLING_UNROLL for (int j = 0; j < vectors; j++) group[j] = v_set1(0);
    for (; r < end; r++) {
      const float *from = input + r * stride;
      POOLING_UNROLL for (int j = 0; j < vectors; j++) group[j] = v_add(group[j], POOLING_LOAD(from));
    }
    POOLING_UNROLL for (int j = 0; j < vectors; j++) total[j] = v_add(total[j], group[j]);
  }
  POOLING_UNROLL for (int j = 0; j < vectors; j++) {
    total[j] = v_mul(total[j], v_set1(scale));
    if (partial && j == vectors - 1)
      v_store_upto(output + j * VW, tail, total[j]);
    else
      v_store(output + j * VW, total[j]);
  }
}

void POOLING_FUNCTION(apus_sum_rows_)(size_t rows, size_t channels, const float *input, size_t row_stride, float scale,
                                      float *output) {
  size_t c = 0;
  for (; c + POOLING_VECTORS * VW <= channels; c += POOLING_VECTORS * VW)
    sum_rows_tile(rows, input + c, row_stride, scale, output + c, POOLING_VECTORS, 0, VW);
  for (; c + VW <= channels; c += VW) sum_rows_tile(rows, input + c, row_stride, scale, output + c, 1, 0, VW);
  if (c < channels) sum_rows_tile(rows, input + c, row_stride, scale, output + c, 1, 1, channels - c);
}
