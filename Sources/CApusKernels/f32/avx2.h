// Eight floats with AVX2 and FMA. Opens a target region; close it with f32/end.h.
// See f32/avx512.h for the contract that all three vector headers share.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define V_TARGET_REGION

#define V_LANES 8
typedef __m256 v_f32;

#define V_INLINE static inline __attribute__((always_inline, unused))

V_INLINE __m256i v_tail_mask(size_t n) {
  static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256((const __m256i *)(ones_then_zeros + 8 - (n < 8 ? n : 8)));
}
V_INLINE v_f32 v_splat(float x) { return _mm256_set1_ps(x); }
V_INLINE v_f32 v_load(const float *p) { return _mm256_loadu_ps(p); }
V_INLINE void v_store(float *p, v_f32 v) { _mm256_storeu_ps(p, v); }
V_INLINE v_f32 v_load_n(const float *p, size_t n) {
  return n >= 8 ? v_load(p) : _mm256_maskload_ps(p, v_tail_mask(n));
}
V_INLINE void v_store_n(float *p, v_f32 v, size_t n) {
  if (n >= 8)
    v_store(p, v);
  else
    _mm256_maskstore_ps(p, v_tail_mask(n), v);
}
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return _mm256_add_ps(a, b); }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return _mm256_mul_ps(a, b); }
V_INLINE v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return _mm256_fmadd_ps(a, b, c); }
V_INLINE v_f32 v_max_keep(v_f32 bound, v_f32 x) { return _mm256_max_ps(bound, x); }
V_INLINE v_f32 v_min_keep(v_f32 bound, v_f32 x) { return _mm256_min_ps(bound, x); }
V_INLINE v_f32 v_max_nan(v_f32 a, v_f32 b) {
  return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
V_INLINE v_f32 v_scale_negative(v_f32 x, v_f32 slope) {
  return _mm256_blendv_ps(x, _mm256_mul_ps(x, slope), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}
