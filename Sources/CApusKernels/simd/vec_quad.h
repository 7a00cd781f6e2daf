// Four floats in plain C with vector extensions (SSE2, NEON, or whatever the target's baseline has): the part of
// vec_generic.h's vocabulary that matrix, convolution and pooling kernels use. Their generic versions keep a tile of
// results in registers, which a compiler would not find in one-lane code.
#ifndef APUS_VEC_H
#define APUS_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../cpu/target.h"

#define VW 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vm __attribute__((vector_size(16))); // 0 or -1

APUS_INLINE vf v_set1(float x) { return (vf){x, x, x, x}; }
APUS_INLINE vf v_load(const float *p) { vf r; memcpy(&r, p, sizeof r); return r; }
APUS_INLINE void v_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
APUS_INLINE vf v_load_n(const float *p, size_t n) {
  return (vf){n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}
APUS_INLINE void v_store_n(float *p, size_t n, vf x) {
  if (n > 0) p[0] = x[0];
  if (n > 1) p[1] = x[1];
  if (n > 2) p[2] = x[2];
  if (n > 3) p[3] = x[3];
}
APUS_INLINE vf v_add(vf a, vf b) { return a + b; }
APUS_INLINE vf v_sub(vf a, vf b) { return a - b; }
APUS_INLINE vf v_mul(vf a, vf b) { return a * b; }
APUS_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
APUS_INLINE vf v_fnma(vf a, vf b, vf c) { return c - a * b; }
APUS_INLINE vm v_lt(vf a, vf b) { return a < b; }
APUS_INLINE vm v_nan(vf a) { return a != a; }
APUS_INLINE vf v_select(vm m, vf a, vf b) { return (vf)((m & (vm)a) | (~m & (vm)b)); }
APUS_INLINE vf v_min(vf a, vf b) { return v_select(a < b, a, b); }
APUS_INLINE vf v_max(vf a, vf b) { return v_select(a > b, a, b); }

#endif
