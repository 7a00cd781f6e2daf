// The activations that are applied in registers, for the vector type of the header included before.
#include "apus_epilogue.h"

/// Applies `activation` to one vector; APUS_ACTIVATION_FUNCTION is left to the caller, after storing.
V_INLINE v_f32 v_activate(v_f32 x, apus_activation activation, v_f32 alpha, v_f32 beta) {
  switch (activation) {
  case APUS_ACTIVATION_NONE:
  case APUS_ACTIVATION_FUNCTION: return x;
  case APUS_ACTIVATION_RELU: return v_max_keep(v_splat(0), x);
  case APUS_ACTIVATION_CLAMP: return v_min_keep(beta, v_max_keep(alpha, x));
  case APUS_ACTIVATION_LEAKY_RELU: return v_scale_negative(x, alpha);
  case APUS_ACTIVATION_HARD_SIGMOID: return v_min_keep(v_splat(1), v_max_keep(v_splat(0), v_fma(x, alpha, beta)));
  case APUS_ACTIVATION_HARD_SWISH:
    return v_mul(x, v_min_keep(v_splat(1), v_max_keep(v_splat(0), v_fma(x, alpha, beta))));
  }
  return x;
}
