// The one sequence of operations that turns s32 results into 8 bits, for the vectors of whichever vec_*.h was included
// before. Integer kernels promise the same bits on every level: each step below is a single correctly rounded operation,
// in this order, and nothing is contracted.
#ifndef APUS_REQUANTIZE_H
#define APUS_REQUANTIZE_H

#pragma STDC FP_CONTRACT OFF

// round(float(x) * scale) + zero point, saturated. The caller has added biases to x, modulo 2^32.
APUS_INLINE vi v_requantize(vi x, vf scale, vf zero_point, vf low, vf high) {
  const vf product = v_mul(vi_to_float(x), scale);
  const vf shifted = v_add(v_round(product), zero_point);
  // NaN (an infinite or NaN scale) becomes `low`, the second operand.
  return v_to_int(v_min(v_max(shifted, low), high));
}

#endif
