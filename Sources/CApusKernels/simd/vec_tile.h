// What matrix, convolution and pooling kernels share, in the vocabulary of the vec_*.h included before. Belongs inside
// the same APUS_BEGIN_... region as the kernel.
#ifndef APUS_VEC_TILE_H
#define APUS_VEC_TILE_H

#include "apus_epilogue.h"

/// The first min(n, VW) lanes, at full speed if that is all of them.
APUS_INLINE vf v_load_upto(const float *p, size_t n) { return n >= VW ? v_load(p) : v_load_n(p, n); }
APUS_INLINE void v_store_upto(float *p, size_t n, vf x) {
  if (n >= VW)
    v_store(p, x);
  else
    v_store_n(p, n, x);
}

/// The greater; NaN if either is.
APUS_INLINE vf v_max_or_nan(vf a, vf b) { return v_select(v_nan(a), a, v_max(a, b)); }

/// x within [low, high]; NaN stays NaN.
APUS_INLINE vf v_clamp(vf x, vf low, vf high) { return v_min(high, v_max(low, x)); }

/// Applies the activations that are cheap enough for registers; APUS_ACTIVATION_FUNCTION is left to the caller, after
/// storing. To be called with a constant activation.
APUS_INLINE vf v_activate(vf x, apus_activation activation, vf alpha, vf beta) {
  switch (activation) {
  case APUS_ACTIVATION_NONE:
  case APUS_ACTIVATION_FUNCTION: return x;
  case APUS_ACTIVATION_RELU: return v_max(v_set1(0), x);
  case APUS_ACTIVATION_CLAMP: return v_clamp(x, alpha, beta);
  case APUS_ACTIVATION_LEAKY_RELU: return v_select(v_lt(x, v_set1(0)), v_mul(x, alpha), x);
  case APUS_ACTIVATION_HARD_SIGMOID: return v_clamp(v_fma(x, alpha, beta), v_set1(0), v_set1(1));
  case APUS_ACTIVATION_HARD_SWISH: return v_mul(x, v_clamp(v_fma(x, alpha, beta), v_set1(0), v_set1(1)));
  }
  return x;
}

#endif
