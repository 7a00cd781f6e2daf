// Four floats, in plain C with vector extensions: SSE2, NEON or whatever the target's baseline has.
// See f32/avx512.h for the contract that all three vector headers share.
#include <stddef.h>
#include <string.h>

#define V_LANES 4
typedef float v_f32 __attribute__((vector_size(16)));
typedef int v_mask __attribute__((vector_size(16)));

#define V_INLINE static inline __attribute__((always_inline, unused))

V_INLINE v_f32 v_splat(float x) { return (v_f32){x, x, x, x}; }
V_INLINE v_f32 v_load(const float *p) {
  v_f32 v;
  memcpy(&v, p, sizeof v);
  return v;
}
V_INLINE void v_store(float *p, v_f32 v) { memcpy(p, &v, sizeof v); }
V_INLINE v_f32 v_load_n(const float *p, size_t n) {
  if (n >= V_LANES) return v_load(p);
  v_f32 v = {n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, 0};
  return v;
}
V_INLINE void v_store_n(float *p, v_f32 v, size_t n) {
  if (n >= V_LANES) {
    v_store(p, v);
    return;
  }
  if (n > 0) p[0] = v[0];
  if (n > 1) p[1] = v[1];
  if (n > 2) p[2] = v[2];
}
V_INLINE v_f32 v_add(v_f32 a, v_f32 b) { return a + b; }
V_INLINE v_f32 v_mul(v_f32 a, v_f32 b) { return a * b; }
V_INLINE v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return a * b + c; }
V_INLINE v_f32 v_pick(v_mask m, v_f32 yes, v_f32 no) { return (v_f32)((m & (v_mask)yes) | (~m & (v_mask)no)); }
V_INLINE v_f32 v_max_keep(v_f32 bound, v_f32 x) { return v_pick(x < bound, bound, x); }
V_INLINE v_f32 v_min_keep(v_f32 bound, v_f32 x) { return v_pick(x > bound, bound, x); }
V_INLINE v_f32 v_max_nan(v_f32 a, v_f32 b) { return v_pick((a != a) | (a >= b), a, b); }
V_INLINE v_f32 v_scale_negative(v_f32 x, v_f32 slope) { return v_pick(x < v_splat(0), x * slope, x); }
