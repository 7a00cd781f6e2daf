// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "../simd/vec_rows.h"
#include "apus_normalization.h"

// 1 / sqrt(variance + epsilon), in double: once per row, and a negative or NaN argument gives NaN.
APUS_INLINE float inverse_root(double variance, float epsilon) {
  return (float)(1.0 / __builtin_sqrt(variance + (double)epsilon));
}

APUS_INLINE vf load_some(const float *p, size_t lanes) { return lanes == VW ? v_load(p) : v_load_n(p, lanes); }
APUS_INLINE void store_some(float *p, size_t lanes, vf v) {
  if (lanes == VW) v_store(p, v);
  else v_store_n(p, lanes, v);
}

// The row to be normalised: x itself, or the sums, written where they are wanted and otherwise to y.
APUS_INLINE const float *sum_row(const apus_row_norm_args *args, size_t r, float *y) {
  const float *x = args->x + r * args->x_stride;
  if (!args->residual && !args->residual_bias && !args->sum) return x;
  const float *residual = args->residual ? args->residual + r * args->residual_stride : NULL;
  float *sum = args->sum ? args->sum + r * args->sum_stride : y;
  for (size_t i = 0; i < args->n; i += VW) {
    const size_t lanes = args->n - i < VW ? args->n - i : VW;
    vf v = load_some(x + i, lanes);
    if (residual) v = v_add(v, load_some(residual + i, lanes));
    if (args->residual_bias) v = v_add(v, load_some(args->residual_bias + i, lanes));
    store_some(sum + i, lanes, v);
  }
  return sum;
}

// y = (v - mean) * factor * scale + bias over one row.
APUS_INLINE void finish_row(size_t n, const float *v, float mean, float factor, const float *scale, const float *bias,
                            float *y) {
  const vf center = v_set1(mean), multiplier = v_set1(factor);
  for (size_t i = 0; i < n; i += VW) {
    const size_t lanes = n - i < VW ? n - i : VW;
    vf t = v_mul(v_sub(load_some(v + i, lanes), center), multiplier);
    if (scale && bias) t = v_fma(t, load_some(scale + i, lanes), load_some(bias + i, lanes));
    else if (scale) t = v_mul(t, load_some(scale + i, lanes));
    else if (bias) t = v_add(t, load_some(bias + i, lanes));
    store_some(y + i, lanes, t);
  }
}

static void layer_norm(const apus_row_norm_args *args) {
  const size_t n = args->n;
  for (size_t r = 0; r < args->rows; r++) {
    float *y = args->y + r * args->y_stride;
    const float *v = sum_row(args, r, y);
    const float mean = (float)(row_sum(n, v, 0.0f) / (double)n);
    const float factor = inverse_root(row_sum_squared_distances(n, v, mean) / (double)n, args->epsilon);
    finish_row(n, v, mean, factor, args->scale, args->bias, y);
    if (args->mean) args->mean[r] = mean;
    if (args->inverse_deviation) args->inverse_deviation[r] = factor;
  }
}

static void rms_norm(const apus_row_norm_args *args) {
  const size_t n = args->n;
  for (size_t r = 0; r < args->rows; r++) {
    float *y = args->y + r * args->y_stride;
    const float *v = sum_row(args, r, y);
    const float factor = inverse_root(row_sum_squares(n, v, 0.0f) / (double)n, args->epsilon);
    finish_row(n, v, 0.0f, factor, args->scale, args->bias, y);
    if (args->inverse_deviation) args->inverse_deviation[r] = factor;
  }
}

static void group_norm(size_t channels, size_t spatial, const float *x, const float *scale, const float *bias,
                       float epsilon, float *y) {
  const size_t n = channels * spatial;
  const float mean = (float)(row_sum(n, x, 0.0f) / (double)n);
  const float factor = inverse_root(row_sum_squared_distances(n, x, mean) / (double)n, epsilon);
  const vf center = v_set1(mean);
  for (size_t c = 0; c < channels; c++, x += spatial, y += spatial) {
    const vf multiplier = v_set1(scale ? factor * scale[c] : factor), offset = v_set1(bias ? bias[c] : 0.0f);
    for (size_t i = 0; i < spatial; i += VW) {
      const size_t lanes = spatial - i < VW ? spatial - i : VW;
      store_some(y + i, lanes, v_fma(v_sub(load_some(x + i, lanes), center), multiplier, offset));
    }
  }
}

// The mean over the pixels of x, or, with `centers`, of the squared distance from them, for each channel.
APUS_INLINE void column_means(size_t pixels, size_t channels, const float *x, size_t stride, const float *centers,
                              float *means) {
  const vf share = v_set1((float)(1.0 / (double)pixels));
  for (size_t c = 0; c < channels; c += VW) {
    const size_t lanes = channels - c < VW ? channels - c : VW;
    const vf center = centers ? load_some(centers + c, lanes) : v_set1(0.0f);
    vf total = v_set1(0.0f);
    for (size_t begin = 0; begin < pixels; begin += 64) {
      const size_t end = pixels - begin < 64 ? pixels : begin + 64;
      vf sum = v_set1(0.0f);
      for (size_t p = begin; p < end; p++) {
        const vf v = load_some(x + p * stride + c, lanes);
        const vf distance = v_sub(v, center);
        sum = centers ? v_fma(distance, distance, sum) : v_add(sum, v);
      }
      total = v_add(total, sum);
    }
    store_some(means + c, lanes, v_mul(total, share));
  }
}

static void group_norm_nhwc(size_t pixels, size_t channels, size_t groups, const float *x, size_t x_stride,
                            const float *scale, const float *bias, float epsilon, float *y, size_t y_stride,
                            float *workspace) {
  if (pixels == 0 || groups == 0) return;
  float *mean = workspace, *factor = workspace + channels;
  column_means(pixels, channels, x, x_stride, NULL, mean);
  column_means(pixels, channels, x, x_stride, mean, factor);
  const size_t width = channels / groups;
  for (size_t first = 0; width > 0 && first + width <= channels; first += width) {
    // The group's variance is the mean of its channels' variances plus the variance of their means.
    double sum = 0, spread = 0;
    for (size_t c = first; c < first + width; c++) sum += mean[c];
    const double center = sum / (double)width;
    for (size_t c = first; c < first + width; c++) {
      const double distance = (double)mean[c] - center;
      spread += (double)factor[c] + distance * distance;
    }
    const float inverse = inverse_root(spread / (double)width, epsilon);
    for (size_t c = first; c < first + width; c++) {
      mean[c] = (float)center;
      factor[c] = scale ? inverse * scale[c] : inverse;
    }
  }
  for (size_t p = 0; p < pixels; p++, x += x_stride, y += y_stride) {
    for (size_t c = 0; c < channels; c += VW) {
      const size_t lanes = channels - c < VW ? channels - c : VW;
      const vf offset = bias ? load_some(bias + c, lanes) : v_set1(0.0f);
      const vf distance = v_sub(load_some(x + c, lanes), load_some(mean + c, lanes));
      store_some(y + c, lanes, v_fma(distance, load_some(factor + c, lanes), offset));
    }
  }
}

extern const apus_normalization_kernels APUS_NAME(apus_normalization, APUS_LEVEL);
const apus_normalization_kernels APUS_NAME(apus_normalization, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .group_norm = group_norm,
    .group_norm_nhwc = group_norm_nhwc,
};
