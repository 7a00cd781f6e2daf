// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "../simd/vec_math.h"
#include "../simd/vec_rows.h"
#include "apus_softmax.h"

// scale x + mask, written to y where anything is to be done, and the largest of it. NaN may or may not win: it
// reaches every result through the sum anyway.
APUS_INLINE float prepare(size_t n, const float *x, float scale, const float *mask, float *y, int transform) {
  const vf factor = v_set1(scale);
  vf top[ACCUMULATORS];
  for (int j = 0; j < ACCUMULATORS; j++) top[j] = v_set1(-__builtin_inff());
  size_t i = 0;
  for (; i + ACCUMULATORS * VW <= n; i += ACCUMULATORS * VW) {
    for (int j = 0; j < ACCUMULATORS; j++) {
      vf v = v_load(x + i + j * VW);
      if (transform) {
        v = mask ? v_fma(v, factor, v_load(mask + i + j * VW)) : v_mul(v, factor);
        v_store(y + i + j * VW, v);
      }
      top[j] = v_max(top[j], v);
    }
  }
  for (; i < n; i += VW) {
    const size_t rest = n - i < VW ? n - i : VW;
    vf v = v_load_n_or(x + i, rest, -__builtin_inff());
    if (transform) {
      v = mask ? v_fma(v, factor, v_load_n(mask + i, rest)) : v_mul(v, factor);
      v_store_n(y + i, rest, v);
      // Lanes beyond the end must not count, whatever the sign of the factor made of them.
      if (rest < VW) v = v_load_n_or(y + i, rest, -__builtin_inff());
    }
    top[0] = v_max(top[0], v);
  }
  for (int width = ACCUMULATORS / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; j++) top[j] = v_max(top[j], top[j + width]);
  }
  return v_hmax(top[0]);
}

// The sum of e^(t - top), kept in y where wanted. Lanes beyond the end are -infinity and add 0.
APUS_INLINE float exponentiate(size_t n, const float *t, float top, float *y, int keep) {
  const vf maximum = v_set1(top);
  double total = 0;
  for (size_t begin = 0; begin < n; begin += SUM_BLOCK) {
    const size_t end = n - begin < SUM_BLOCK ? n : begin + SUM_BLOCK;
    vf sum[ACCUMULATORS];
    for (int j = 0; j < ACCUMULATORS; j++) sum[j] = v_set1(0.0f);
    size_t i = begin;
    for (; i + ACCUMULATORS * VW <= end; i += ACCUMULATORS * VW) {
      vf e[ACCUMULATORS];
      for (int j = 0; j < ACCUMULATORS; j++) e[j] = v_exp_nonpositive(v_sub(v_load(t + i + j * VW), maximum));
      for (int j = 0; j < ACCUMULATORS; j++) {
        if (keep) v_store(y + i + j * VW, e[j]);
        sum[j] = v_add(sum[j], e[j]);
      }
    }
    for (int j = 0; i + VW <= end; i += VW, j++) {
      const vf e = v_exp_nonpositive(v_sub(v_load(t + i), maximum));
      if (keep) v_store(y + i, e);
      sum[j] = v_add(sum[j], e);
    }
    if (i < end) {
      const vf e = v_exp_nonpositive(v_sub(v_load_n_or(t + i, end - i, -__builtin_inff()), maximum));
      if (keep) v_store_n(y + i, end - i, e);
      sum[ACCUMULATORS - 1] = v_add(sum[ACCUMULATORS - 1], e);
    }
    for (int width = ACCUMULATORS / 2; width > 0; width /= 2) {
      for (int j = 0; j < width; j++) sum[j] = v_add(sum[j], sum[j + width]);
    }
    total += v_sum(sum[0]);
  }
  return (float)total;
}

APUS_INLINE float log_of(float x) {
  float lanes[VW];
  v_store(lanes, v_log(v_set1(x)));
  return lanes[0];
}

static void softmax(const apus_softmax_args *args) {
  const size_t n = args->n;
  const int transform = args->mask != NULL || args->scale != 1.0f;
  for (size_t r = 0; r < args->rows; r++) {
    const float *x = args->x + r * args->x_stride;
    const float *mask = args->mask ? args->mask + r * args->mask_stride : NULL;
    float *y = args->y + r * args->y_stride;
    const float top = transform ? prepare(n, x, args->scale, mask, y, 1) : prepare(n, x, 1.0f, NULL, y, 0);
    const float *t = transform ? y : x;
    if (args->log) {
      const float sum = exponentiate(n, t, top, NULL, 0);
      const vf maximum = v_set1(top), logarithm = v_set1(log_of(sum));
      size_t i = 0;
      for (; i + VW <= n; i += VW) v_store(y + i, v_sub(v_sub(v_load(t + i), maximum), logarithm));
      if (i < n) v_store_n(y + i, n - i, v_sub(v_sub(v_load_n(t + i, n - i), maximum), logarithm));
    } else {
      const vf sum = v_set1(exponentiate(n, t, top, y, 1));
      size_t i = 0;
      for (; i + VW <= n; i += VW) v_store(y + i, v_div(v_load(y + i), sum));
      if (i < n) v_store_n(y + i, n - i, v_div(v_load_n(y + i, n - i), sum));
    }
  }
}

extern const apus_softmax_kernels APUS_NAME(apus_softmax, APUS_LEVEL);
const apus_softmax_kernels APUS_NAME(apus_softmax, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .softmax = softmax};
