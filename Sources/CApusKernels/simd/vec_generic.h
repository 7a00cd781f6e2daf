// One-lane "vectors" in plain C: the vocabulary of vec_avx2.h and vec_avx512.h on every machine.
//
// A source file includes exactly one vec_*.h and writes its loops with these names:
//   vf, vi, vm            floats, 32-bit integers, lane masks;  VW lanes each
//   v_min(a, b)           a < b ? a : b, so b where either is NaN (v_max likewise)
//   v_fma(a, b, c)        a*b + c: one rounding where the level has FMA, two here
//   v_load_n / v_store_n  the first n <= VW lanes; the others read as 0 and are not written, nor their memory touched;
//                         v_load_n_or reads the others as a given number
//   vi_pow2(n)            2^n as a float for -126 <= n <= 127
//   vi_load_u8 ...        VW narrow integers, widened;  vi_store_low8 ... the low bits of each lane
//   vi_store_saturated    4 VW integers as 8 bits, only where VI_STORE_SATURATED is defined
// Shared by kernels of this target only; not part of the module's interface.
#ifndef APUS_VEC_H
#define APUS_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../cpu/target.h"

#define VW 1
typedef float vf;
typedef int32_t vi;
typedef int32_t vm; // 0 or -1

APUS_INLINE vi v_bits(vf x) { vi r; memcpy(&r, &x, sizeof r); return r; }
APUS_INLINE vf vi_float(vi x) { vf r; memcpy(&r, &x, sizeof r); return r; }

APUS_INLINE vf v_set1(float x) { return x; }
APUS_INLINE vf v_load(const float *p) { return *p; }
APUS_INLINE void v_store(float *p, vf x) { *p = x; }
APUS_INLINE vf v_load_n(const float *p, size_t n) { return n ? *p : 0.0f; }
APUS_INLINE vf v_load_n_or(const float *p, size_t n, float fill) { return n ? *p : fill; }
APUS_INLINE void v_store_n(float *p, size_t n, vf x) { if (n) *p = x; }
APUS_INLINE vf v_add(vf a, vf b) { return a + b; }
APUS_INLINE vf v_sub(vf a, vf b) { return a - b; }
APUS_INLINE vf v_mul(vf a, vf b) { return a * b; }
APUS_INLINE vf v_div(vf a, vf b) { return a / b; }
APUS_INLINE vf v_sqrt(vf a) { return __builtin_sqrtf(a); }
APUS_INLINE vf v_fma(vf a, vf b, vf c) { const float p = a * b; return p + c; }
APUS_INLINE vf v_fnma(vf a, vf b, vf c) { const float p = a * b; return c - p; }
APUS_INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
APUS_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
APUS_INLINE vf v_abs(vf a) { return vi_float(v_bits(a) & 0x7fffffff); }
APUS_INLINE vf v_neg(vf a) { return -a; }
APUS_INLINE vf v_copysign(vf magnitude, vf sign) {
  return vi_float((v_bits(magnitude) & 0x7fffffff) | (v_bits(sign) & INT32_MIN));
}

APUS_INLINE vm v_lt(vf a, vf b) { return -(a < b); }
APUS_INLINE vm v_le(vf a, vf b) { return -(a <= b); }
APUS_INLINE vm v_eq(vf a, vf b) { return -(a == b); }
APUS_INLINE vm v_nan(vf a) { return -(a != a); }
APUS_INLINE vm vm_none(void) { return 0; }
APUS_INLINE vm vm_or(vm a, vm b) { return a | b; }
APUS_INLINE vm vm_and(vm a, vm b) { return a & b; }
APUS_INLINE int vm_any(vm a) { return a != 0; }
APUS_INLINE vf v_select(vm m, vf a, vf b) { return m ? a : b; }

APUS_INLINE vf v_round(vf x) {
  // Adding and taking away 2^23 leaves the integer nearest, ties to even; larger numbers are integers already.
  const float magnitude = v_abs(x);
  const float rounded = v_copysign((magnitude + 0x1p23f) - 0x1p23f, x);
  return magnitude < 0x1p23f ? rounded : x;
}
APUS_INLINE vf v_floor(vf x) {
  const float r = v_round(x);
  return v_copysign(r > x ? r - 1.0f : r, x);
}
APUS_INLINE vf v_ceil(vf x) {
  const float r = v_round(x);
  return v_copysign(r < x ? r + 1.0f : r, x);
}

APUS_INLINE vi vi_set1(int32_t x) { return x; }
APUS_INLINE vi vi_add(vi a, vi b) { return (vi)((uint32_t)a + (uint32_t)b); }
APUS_INLINE vi vi_sub(vi a, vi b) { return (vi)((uint32_t)a - (uint32_t)b); }
APUS_INLINE vi vi_mul(vi a, vi b) { return (vi)((uint32_t)a * (uint32_t)b); }
APUS_INLINE vi vi_and(vi a, vi b) { return a & b; }
APUS_INLINE vi vi_or(vi a, vi b) { return a | b; }
#define vi_shl(a, n) ((vi)((uint32_t)(a) << (n)))
#define vi_shr(a, n) ((vi)((uint32_t)(a) >> (n)))
#define vi_sra(a, n) ((vi)(a) >> (n))
// Out of range and NaN give INT32_MIN, as the x86 instruction does.
APUS_INLINE vi v_to_int(vf x) { return v_abs(x) < 0x1p31f ? (vi)v_round(x) : INT32_MIN; }
APUS_INLINE vf vi_to_float(vi x) { return (float)x; }
APUS_INLINE vf vi_pow2(vi n) { return vi_float(vi_shl(vi_add(n, 127), 23)); }

APUS_INLINE vi vi_load(const int32_t *p) { return *p; }
APUS_INLINE void vi_store(int32_t *p, vi x) { *p = x; }
APUS_INLINE vi vi_load_u8(const uint8_t *p) { return *p; }
APUS_INLINE vi vi_load_s8(const int8_t *p) { return *p; }
APUS_INLINE vi vi_load_u16(const uint16_t *p) { return *p; }
APUS_INLINE vi vi_load_s16(const int16_t *p) { return *p; }
APUS_INLINE void vi_store_low8(uint8_t *p, vi x) { *p = (uint8_t)x; }
APUS_INLINE void vi_store_low16(uint16_t *p, vi x) { *p = (uint16_t)x; }

APUS_INLINE float v_sum(vf x) { return x; }
APUS_INLINE float v_hmax(vf x) { return x; }
APUS_INLINE float v_hmin(vf x) { return x; }

#endif
