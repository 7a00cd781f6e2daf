// Sixteen floats with AVX-512. Opens a target region; close it with f32/end.h.
//
// f32/generic.h, f32/avx2.h and f32/avx512.h define the same names, so that a kernel body is written once and included
// by one file per instruction set:
//
//   V_LANES, v_f32       floats in a vector, and the vector
//   v_load/v_store       unaligned; v_load_n/v_store_n touch only the first min(n, V_LANES) floats, n >= 1
//   v_splat, v_add, v_mul, v_fma (a*b + c; the generic one may round twice)
//   v_max_keep(bound, x) max, v_min_keep min: NaN in x stays NaN
//   v_max_nan(a, b)      max that is NaN if either is
//   v_scale_negative     x < 0 ? x * slope : x
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#define V_TARGET_REGION

#define V_LANES 16
typedef __m512 v_f32;

#define V_INLINE static inline __attribute__((always_inline, unused))

V_INLINE __mmask16 v_tail_mask(size_t n) { return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xffffu); }
V_INLINE v_f32 v_splat(float x) { return _mm512_set1_ps(x); }
V_INLINE v_f32 v_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void v_store(float *p, v_f32 v) { _mm512_storeu_ps(p, v); }
V_INLINE v_f32 v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v_tail_mask(n), p); }
V_INLINE void v_store_n(float *p, v_f32 v, size_t n) { _mm512_mask_storeu_ps(p, v_tail_mask(n), v); }
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return _mm512_add_ps(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return _mm512_mul_ps(a, b); }
V_INLINE v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE v_f32 v_max_keep(v_f32 bound, v_f32 x) { return _mm512_max_ps(bound, x); }
V_INLINE v_f32 v_min_keep(v_f32 bound, v_f32 x) { return _mm512_min_ps(bound, x); }
V_INLINE v_f32 v_max_nan(v_f32 a, v_f32 b) {
  return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
V_INLINE v_f32 v_scale_negative(v_f32 x, v_f32 slope) {
  return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), x, slope);
}
