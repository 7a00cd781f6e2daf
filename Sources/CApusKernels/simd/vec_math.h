// Elementary functions on the vectors of whichever vec_*.h was included before, inside the caller's target region.
//
// Polynomials are weighted minimax fits of our own (Lawson iteration, coefficients rounded to float one after the
// other with the rest refitted). Correct for NaN, infinities and denormal arguments and results. Largest errors over
// all floats, against double precision, are stated in apus_elementwise.h.
#ifndef APUS_VEC_MATH_H
#define APUS_VEC_MATH_H

// e^r - 1 = r + r^2 P(r) for |r| <= ln 2 / 2, relative error 2^-26.
APUS_INLINE vf v_expm1_reduced(vf r) {
  vf p = v_set1(0x1.6ba49cp-10f);
  p = v_fma(p, r, v_set1(0x1.122a72p-7f));
  p = v_fma(p, r, v_set1(0x1.5556fp-5f));
  p = v_fma(p, r, v_set1(0x1.5554aep-3f));
  p = v_fma(p, r, v_set1(0x1.fffffep-2f));
  return v_fma(v_mul(r, r), p, r);
}

// n = round(x / ln 2) and r = x - n ln 2; the high part of ln 2 has 15 bits, so n times it is exact.
APUS_INLINE vf v_exp_reduce(vf x, vf *r) {
  const vf n = v_round(v_mul(x, v_set1(0x1.715476p+0f)));
  *r = v_fnma(n, v_set1(0x1.7f7d1cp-20f), v_fnma(n, v_set1(0x1.62e4p-1f), x));
  return n;
}

// p times 2^n for a whole n in [-150, 128], rounded once.
APUS_INLINE vf v_scaled(vf p, vf n) {
#if defined(APUS_VEC_SCALES)
  return v_scale(p, n);
#else
  // In two steps, so that 2^128 and denormal results come from the last multiplication.
  const vi whole = v_to_int(n), half = vi_sra(whole, 1);
  return v_mul(v_mul(p, vi_pow2(half)), vi_pow2(vi_sub(whole, half)));
#endif
}

APUS_INLINE vf v_exp(vf x) {
  // Beyond these bounds the result is 0 or infinity whatever the argument. NaN passes: it is the second operand.
  vf r;
  const vf n = v_exp_reduce(v_min(v_set1(89.0f), v_max(v_set1(-104.0f), x)), &r);
  return v_scaled(v_add(v_set1(1.0f), v_expm1_reduced(r)), n);
}

// exp for arguments known to be at most 0 or NaN; results below 2^-126 may become 0.
APUS_INLINE vf v_exp_nonpositive(vf x) {
  vf r;
#if defined(APUS_VEC_SCALES)
  const vf n = v_exp_reduce(v_max(v_set1(-104.0f), x), &r);
  return v_scale(v_add(v_set1(1.0f), v_expm1_reduced(r)), n);
#else
  const vf n = v_exp_reduce(v_max(v_set1(-87.0f), x), &r);
  const vf y = v_mul(v_add(v_set1(1.0f), v_expm1_reduced(r)), vi_pow2(v_to_int(n)));
  return v_select(v_lt(x, v_set1(-87.0f)), v_set1(0.0f), y);
#endif
}

APUS_INLINE vf v_expm1(vf x) {
  vf r;
  const vf n = v_exp_reduce(v_min(v_set1(89.0f), v_max(v_set1(-18.0f), x)), &r);
  const vf p = v_expm1_reduced(r);
  // Half of 2^n, so that n = 128 stays finite until the end.
  const vf s = vi_pow2(vi_sub(v_to_int(n), vi_set1(1)));
  const vf h = v_fma(p, s, v_sub(s, v_set1(0.5f)));
  // Tiny arguments are their own result (and keep the sign of zero).
  return v_select(v_lt(v_abs(x), v_set1(0x1p-25f)), x, v_add(h, h));
}

// log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], plus e ln 2.
APUS_INLINE vf v_log1p_reduced(vf f, vf e) {
  vf p = v_set1(-0x1.38c974p-4f);
  p = v_fma(p, f, v_set1(0x1.055eaep-3f));
  p = v_fma(p, f, v_set1(-0x1.0d8246p-3f));
  p = v_fma(p, f, v_set1(0x1.22d93p-3f));
  p = v_fma(p, f, v_set1(-0x1.54728ap-3f));
  p = v_fma(p, f, v_set1(0x1.99a01cp-3f));
  p = v_fma(p, f, v_set1(-0x1.000226p-2f));
  p = v_fma(p, f, v_set1(0x1.555554p-2f));
  const vf square = v_mul(f, f);
  vf t = v_mul(v_mul(p, f), square);
  t = v_fma(e, v_set1(0x1.7f7d1cp-20f), t);
  t = v_fnma(v_set1(0.5f), square, t);
  return v_fma(e, v_set1(0x1.62e4p-1f), v_add(f, t));
}

APUS_INLINE vf v_log(vf x) {
  const vf least_normal = v_set1(0x1p-126f);
  const vm denormal = v_lt(x, least_normal);
  const vf scaled = v_select(denormal, v_mul(x, v_set1(0x1p25f)), x);
  // The exponent of x relative to [sqrt(1/2), sqrt(2)), whose lower end has these bits.
  const vi base = vi_set1(0x3f3504f3);
  const vi offset = vi_sub(v_bits(scaled), base);
  const vi exponent = vi_sra(offset, 23);
  const vf m = vi_float(vi_add(vi_and(offset, vi_set1(0x7fffff)), base));
  const vf e = v_sub(vi_to_float(exponent), v_select(denormal, v_set1(25.0f), v_set1(0.0f)));
  vf y = v_log1p_reduced(v_sub(m, v_set1(1.0f)), e);
  const vf infinity = v_set1(__builtin_inff());
  y = v_select(v_eq(x, v_set1(0.0f)), v_neg(infinity), y);
  y = v_select(v_eq(x, infinity), infinity, y);
  const vf nan = v_set1(__builtin_nanf(""));
  return v_select(vm_or(v_lt(x, v_set1(0.0f)), v_nan(x)), v_select(v_nan(x), x, nan), y);
}

// log(1 + z) for z in [0, 1].
APUS_INLINE vf v_log1p_unit(vf z) {
  const vm large = v_lt(v_set1(0x1.a8279ap-2f), z);
  const vf f = v_select(large, v_fma(v_set1(0.5f), z, v_set1(-0.5f)), z);
  return v_log1p_reduced(f, v_select(large, v_set1(1.0f), v_set1(0.0f)));
}

// 1 / x for x in [1, 2], one unit in the last place off at most.
APUS_INLINE vf v_reciprocal(vf x) {
#if defined(APUS_VEC_SCALES)
  const vf y = v_reciprocal_14(x);
  return v_fma(v_fnma(x, y, v_set1(1.0f)), y, y);
#else
  return v_div(v_set1(1.0f), x);
#endif
}

// 1 / (1 + e^-x), by way of e^-|x| so that nothing overflows and small results keep their accuracy.
APUS_INLINE vf v_sigmoid(vf x) {
  vf r;
  const vf n = v_exp_reduce(v_max(v_set1(-104.0f), v_neg(v_abs(x))), &r);
  const vf z = v_scaled(v_add(v_set1(1.0f), v_expm1_reduced(r)), n);
  return v_mul(v_select(v_lt(x, v_set1(0.0f)), z, v_set1(1.0f)), v_reciprocal(v_add(v_set1(1.0f), z)));
}

APUS_INLINE vf v_tanh(vf x) {
  const vf a = v_abs(x);
  // With t = e^2a - 1: t / (t + 2), or 1 - 2 / (t + 2) where t is the larger. From 10 on the result is 1.
  const vf t = v_expm1(v_min(v_set1(20.0f), v_add(a, a)));
  const vm small = v_lt(t, v_set1(4.0f));
  const vf q = v_div(v_select(small, t, v_set1(-2.0f)), v_add(t, v_set1(2.0f)));
  const vf y = v_select(small, q, v_add(v_set1(1.0f), q));
  // Below this the cubic term is less than half an ulp, and denormals must not be doubled and halved.
  return v_copysign(v_select(v_lt(a, v_set1(0x1p-13f)), a, y), x);
}

APUS_INLINE vf v_erf(vf x) {
  const vf t = v_abs(x), s = v_mul(x, x);
  vf p = v_set1(-0x1.3ac5a8p-11f);
  p = v_fma(p, s, v_set1(0x1.476884p-8f));
  p = v_fma(p, s, v_set1(-0x1.b6939p-6f));
  p = v_fma(p, s, v_set1(0x1.ce1b0ep-4f));
  p = v_fma(p, s, v_set1(-0x1.8126eap-2f));
  p = v_fma(p, s, v_set1(0x1.06eba6p-3f));
  const vf small = v_fma(p, x, x);
  // erfc(t) = e^(-t Q(t)) on [0.92, 4]; beyond 4, erf is 1. NaN is the second operand and passes.
  const vf u = v_min(v_set1(4.0f), t);
  vf q = v_set1(0x1.77457p-17f);
  q = v_fma(q, u, v_set1(-0x1.520d32p-12f));
  q = v_fma(q, u, v_set1(0x1.dd3540p-9f));
  q = v_fma(q, u, v_set1(-0x1.8542eap-6f));
  q = v_fma(q, u, v_set1(0x1.b32156p-4f));
  q = v_fma(q, u, v_set1(0x1.4532dcp-1f));
  q = v_fma(q, u, v_set1(0x1.20ef12p+0f));
  const vf large = v_copysign(v_sub(v_set1(1.0f), v_exp_nonpositive(v_neg(v_mul(u, q)))), x);
  return v_select(v_lt(t, v_set1(0.92f)), small, large);
}

// log(1 + e^x)
APUS_INLINE vf v_softplus(vf x) {
  const vf z = v_exp(v_neg(v_abs(x)));
  return v_add(v_max(v_set1(0.0f), x), v_log1p_unit(z));
}

#endif
