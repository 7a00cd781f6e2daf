// The one sequence of operations that turns s32 results into 8 bits, for the vectors of whichever vec_*.h was included
// before. Integer kernels promise the same bits on every level: each step below is a single correctly rounded operation,
// in this order, and nothing is contracted.
#ifndef APUS_REQUANTIZE_H
#define APUS_REQUANTIZE_H

#pragma STDC FP_CONTRACT OFF

// saturate(round(float(x) * scale) + zero point). The caller has added biases to x, modulo 2^32; `low` and `high` are the least
// and the greatest code less the zero point, so that limits are applied before the rounding, which keeps the order of numbers.
APUS_INLINE vi v_requantize(vi x, vf scale, vi zero_point, vf low, vf high) {
  const vf product = v_mul(vi_to_float(x), scale);
  // NaN (an infinite or NaN scale) becomes `low`, the second operand.
  return vi_add(v_to_int(v_min(v_max(product, low), high)), zero_point);
}

#endif
