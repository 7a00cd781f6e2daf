// Sixteen lanes with AVX-512 F, BW, DQ, VL; see vec_generic.h for the vocabulary.
#ifndef APUS_VEC_H
#define APUS_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "../cpu/target.h"

APUS_BEGIN_AVX512

#define VW 16
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

APUS_INLINE __mmask16 v_first(size_t n) { return (__mmask16)((1u << n) - 1u); }

APUS_INLINE vi v_bits(vf x) { return _mm512_castps_si512(x); }
APUS_INLINE vf vi_float(vi x) { return _mm512_castsi512_ps(x); }

APUS_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
APUS_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
APUS_INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
APUS_INLINE vf v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
APUS_INLINE vf v_load_n_or(const float *p, size_t n, float fill) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), v_first(n), p);
}
APUS_INLINE void v_store_n(float *p, size_t n, vf x) { _mm512_mask_storeu_ps(p, v_first(n), x); }
APUS_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
APUS_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
APUS_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
APUS_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
APUS_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
APUS_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
APUS_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
APUS_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
APUS_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
APUS_INLINE vf v_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
APUS_INLINE vf v_neg(vf a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
APUS_INLINE vf v_copysign(vf magnitude, vf sign) {
  return _mm512_or_ps(v_abs(magnitude), _mm512_and_ps(_mm512_set1_ps(-0.0f), sign));
}

APUS_INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
APUS_INLINE vm v_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
APUS_INLINE vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
APUS_INLINE vm v_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
APUS_INLINE vm vm_none(void) { return 0; }
APUS_INLINE vm vm_or(vm a, vm b) { return a | b; }
APUS_INLINE vm vm_and(vm a, vm b) { return a & b; }
APUS_INLINE int vm_any(vm a) { return a != 0; }
APUS_INLINE vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }

// x times 2^n, rounded once; and 1 / x to 14 bits.
#define APUS_VEC_SCALES
APUS_INLINE vf v_scale(vf x, vf n) { return _mm512_scalef_ps(x, n); }
APUS_INLINE vf v_reciprocal_14(vf x) { return _mm512_rcp14_ps(x); }

APUS_INLINE vf v_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
APUS_INLINE vf v_floor(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
APUS_INLINE vf v_ceil(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }

APUS_INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
APUS_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
APUS_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
APUS_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
APUS_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
APUS_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
APUS_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
#define vi_shl(a, n) _mm512_slli_epi32(a, n)
#define vi_shr(a, n) _mm512_srli_epi32(a, (unsigned)(n))
#define vi_sra(a, n) _mm512_srai_epi32(a, n)
// u8 a times s8 b, pairs of products added to s16 (saturating); s16 a times b, pairs added to s32.
#define vi_pairs8(a, b) _mm512_maddubs_epi16(a, b)
#define vi_pairs16(a, b) _mm512_madd_epi16(a, b)
APUS_INLINE vi v_to_int(vf x) { return _mm512_cvtps_epi32(x); }
APUS_INLINE vf vi_to_float(vi x) { return _mm512_cvtepi32_ps(x); }
APUS_INLINE vf vi_pow2(vi n) { return vi_float(vi_shl(vi_add(n, vi_set1(127)), 23)); }

APUS_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
APUS_INLINE void vi_store(int32_t *p, vi x) { _mm512_storeu_si512(p, x); }
APUS_INLINE vi vi_load_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
APUS_INLINE vi vi_load_s8(const int8_t *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)); }
APUS_INLINE vi vi_load_u16(const uint16_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
#define V_LOAD_F16(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
APUS_INLINE vi vi_load_s16(const int16_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
APUS_INLINE void vi_store_low8(uint8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(x)); }
// The elements of a, b, c and d, saturated to s8 or u8 (by way of s16).
#define VI_STORE_SATURATED
APUS_INLINE void vi_store_saturated(uint8_t *p, vi a, vi b, vi c, vi d, int is_signed) {
  const vi ab = _mm512_packs_epi32(a, b), cd = _mm512_packs_epi32(c, d);
  const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, is_signed ? _mm512_packs_epi16(ab, cd) : _mm512_packus_epi16(ab, cd)));
}
APUS_INLINE void vi_store_low16(uint16_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(x)); }

// Row `number` of a table of 16 times 16 bytes: `result`, with the row's bytes where x points into the row, elsewhere unchanged.
#define VI_LOOKUP
APUS_INLINE vi vi_table_row(const uint8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
APUS_INLINE vi vi_lookup(vi result, vi x, vi row, int number) {
  const __mmask64 is_here = _mm512_cmpeq_epi8_mask(_mm512_and_si512(x, _mm512_set1_epi8((char)0xf0)), _mm512_set1_epi8((char)(number << 4)));
  return _mm512_mask_shuffle_epi8(result, is_here, row, _mm512_and_si512(x, _mm512_set1_epi8(0x0f)));
}

APUS_INLINE float v_sum(vf x) { return _mm512_reduce_add_ps(x); }
APUS_INLINE float v_hmax(vf x) { return _mm512_reduce_max_ps(x); }
APUS_INLINE float v_hmin(vf x) { return _mm512_reduce_min_ps(x); }

APUS_END

#endif
