// Four lanes with NEON, which every AArch64 CPU has: no target region is needed. See vec_generic.h for the vocabulary.
#ifndef APUS_VEC_H
#define APUS_VEC_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../cpu/target.h"

#define VW 4
typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;

APUS_INLINE vi v_bits(vf x) { return vreinterpretq_s32_f32(x); }
APUS_INLINE vf vi_float(vi x) { return vreinterpretq_f32_s32(x); }

APUS_INLINE vf v_set1(float x) { return vdupq_n_f32(x); }
APUS_INLINE vf v_load(const float *p) { return vld1q_f32(p); }
APUS_INLINE void v_store(float *p, vf x) { vst1q_f32(p, x); }
APUS_INLINE vf v_load_n_or(const float *p, size_t n, float fill) {
  vf x = vdupq_n_f32(fill);
  if (n >= VW) return vld1q_f32(p);
  if (n & 2) {
    x = vcombine_f32(vld1_f32(p), vget_high_f32(x));
    return n & 1 ? vld1q_lane_f32(p + 2, x, 2) : x;
  }
  return n & 1 ? vld1q_lane_f32(p, x, 0) : x;
}
APUS_INLINE vf v_load_n(const float *p, size_t n) { return v_load_n_or(p, n, 0.0f); }
APUS_INLINE void v_store_n(float *p, size_t n, vf x) {
  if (n >= VW) {
    vst1q_f32(p, x);
  } else if (n & 2) {
    vst1_f32(p, vget_low_f32(x));
    if (n & 1) vst1q_lane_f32(p + 2, x, 2);
  } else if (n & 1) {
    vst1q_lane_f32(p, x, 0);
  }
}
APUS_INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
APUS_INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
APUS_INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
APUS_INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
APUS_INLINE vf v_sqrt(vf a) { return vsqrtq_f32(a); }
APUS_INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
APUS_INLINE vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
// Not vminq and vmaxq: those give NaN where either operand is.
APUS_INLINE vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
APUS_INLINE vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
APUS_INLINE vf v_abs(vf a) { return vabsq_f32(a); }
APUS_INLINE vf v_neg(vf a) { return vnegq_f32(a); }
APUS_INLINE vf v_copysign(vf magnitude, vf sign) {
  return vbslq_f32(vdupq_n_u32(UINT32_C(0x80000000)), sign, magnitude);
}

APUS_INLINE vm v_lt(vf a, vf b) { return vcltq_f32(a, b); }
APUS_INLINE vm v_le(vf a, vf b) { return vcleq_f32(a, b); }
APUS_INLINE vm v_eq(vf a, vf b) { return vceqq_f32(a, b); }
APUS_INLINE vm v_nan(vf a) { return vmvnq_u32(vceqq_f32(a, a)); }
APUS_INLINE vm vm_none(void) { return vdupq_n_u32(0); }
APUS_INLINE vm vm_or(vm a, vm b) { return vorrq_u32(a, b); }
APUS_INLINE vm vm_and(vm a, vm b) { return vandq_u32(a, b); }
APUS_INLINE int vm_any(vm a) { return vmaxvq_u32(a) != 0; }
APUS_INLINE vf v_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }

APUS_INLINE vf v_round(vf x) { return vrndnq_f32(x); }
APUS_INLINE vf v_floor(vf x) { return vrndmq_f32(x); }
APUS_INLINE vf v_ceil(vf x) { return vrndpq_f32(x); }

APUS_INLINE vi vi_set1(int32_t x) { return vdupq_n_s32(x); }
APUS_INLINE vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }
APUS_INLINE vi vi_sub(vi a, vi b) { return vsubq_s32(a, b); }
APUS_INLINE vi vi_mul(vi a, vi b) { return vmulq_s32(a, b); }
APUS_INLINE vi vi_and(vi a, vi b) { return vandq_s32(a, b); }
APUS_INLINE vi vi_or(vi a, vi b) { return vorrq_s32(a, b); }
#define vi_shl(a, n) vshlq_n_s32(a, n)
#define vi_shr(a, n) vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-(n))))
#define vi_sra(a, n) vshrq_n_s32(a, n)
// Out of range saturates and NaN gives 0 here; callers have bounded x or do not use what becomes of it.
APUS_INLINE vi v_to_int(vf x) { return vcvtnq_s32_f32(x); }
APUS_INLINE vf vi_to_float(vi x) { return vcvtq_f32_s32(x); }
APUS_INLINE vf vi_pow2(vi n) { return vi_float(vi_shl(vi_add(n, vi_set1(127)), 23)); }

APUS_INLINE vi vi_load(const int32_t *p) { return vld1q_s32(p); }
APUS_INLINE void vi_store(int32_t *p, vi x) { vst1q_s32(p, x); }
APUS_INLINE vi vi_load_u8(const uint8_t *p) {
  uint32_t four;
  memcpy(&four, p, sizeof four);
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}
APUS_INLINE vi vi_load_s8(const int8_t *p) {
  uint32_t four;
  memcpy(&four, p, sizeof four);
  return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four))));
}
APUS_INLINE vi vi_load_u16(const uint16_t *p) { return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p))); }
#define V_LOAD_F16(p) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))
APUS_INLINE vi vi_load_s16(const int16_t *p) { return vmovl_s16(vld1_s16(p)); }
APUS_INLINE void vi_store_low8(uint8_t *p, vi x) {
  const int16x4_t half = vmovn_s32(x);
  const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(half, half))), 0);
  memcpy(p, &four, sizeof four);
}
// The elements of a, b, c and d, saturated to s8 or u8.
#define VI_STORE_SATURATED
APUS_INLINE void vi_store_saturated(uint8_t *p, vi a, vi b, vi c, vi d, int is_signed) {
  const int16x8_t ab = vqmovn_high_s32(vqmovn_s32(a), b), cd = vqmovn_high_s32(vqmovn_s32(c), d);
  if (is_signed) vst1q_s8((int8_t *)p, vqmovn_high_s16(vqmovn_s16(ab), cd));
  else vst1q_u8(p, vqmovun_high_s16(vqmovun_s16(ab), cd));
}
APUS_INLINE void vi_store_low16(uint16_t *p, vi x) { vst1_u16(p, vreinterpret_u16_s16(vmovn_s32(x))); }

APUS_INLINE float v_sum(vf x) { return vaddvq_f32(x); }
APUS_INLINE float v_hmax(vf x) { return vmaxvq_f32(x); }
APUS_INLINE float v_hmin(vf x) { return vminvq_f32(x); }

#endif
