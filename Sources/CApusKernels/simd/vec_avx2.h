// Eight lanes with AVX2 and FMA; see vec_generic.h for the vocabulary.
#ifndef APUS_VEC_H
#define APUS_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "../cpu/target.h"

APUS_BEGIN_AVX2

#define VW 8
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;

static const int32_t apus_lane_window[16] __attribute__((unused)) = {-1, -1, -1, -1, -1, -1, -1, -1};

APUS_INLINE __m256i v_first(size_t n) {
  return _mm256_loadu_si256((const __m256i *)(apus_lane_window + 8 - n));
}

APUS_INLINE vi v_bits(vf x) { return _mm256_castps_si256(x); }
APUS_INLINE vf vi_float(vi x) { return _mm256_castsi256_ps(x); }

APUS_INLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
APUS_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
APUS_INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
APUS_INLINE vf v_load_n(const float *p, size_t n) { return _mm256_maskload_ps(p, v_first(n)); }
APUS_INLINE vf v_load_n_or(const float *p, size_t n, float fill) {
  return _mm256_blendv_ps(_mm256_set1_ps(fill), v_load_n(p, n), _mm256_castsi256_ps(v_first(n)));
}
APUS_INLINE void v_store_n(float *p, size_t n, vf x) { _mm256_maskstore_ps(p, v_first(n), x); }
APUS_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
APUS_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
APUS_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
APUS_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
APUS_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
APUS_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
APUS_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
APUS_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
APUS_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
APUS_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
APUS_INLINE vf v_neg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
APUS_INLINE vf v_copysign(vf magnitude, vf sign) {
  return _mm256_or_ps(v_abs(magnitude), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}

APUS_INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
APUS_INLINE vm v_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
APUS_INLINE vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
APUS_INLINE vm v_nan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
APUS_INLINE vm vm_none(void) { return _mm256_setzero_ps(); }
APUS_INLINE vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
APUS_INLINE vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
APUS_INLINE int vm_any(vm a) { return _mm256_movemask_ps(a) != 0; }
APUS_INLINE vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }

APUS_INLINE vf v_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
APUS_INLINE vf v_floor(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
APUS_INLINE vf v_ceil(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }

APUS_INLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
APUS_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
APUS_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
APUS_INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
APUS_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
APUS_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
APUS_INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
#define vi_shl(a, n) _mm256_slli_epi32(a, n)
#define vi_shr(a, n) _mm256_srli_epi32(a, (unsigned)(n))
#define vi_sra(a, n) _mm256_srai_epi32(a, n)
// u8 a times s8 b, pairs of products added to s16 (saturating); s16 a times b, pairs added to s32.
#define vi_pairs8(a, b) _mm256_maddubs_epi16(a, b)
#define vi_pairs16(a, b) _mm256_madd_epi16(a, b)
APUS_INLINE vi v_to_int(vf x) { return _mm256_cvtps_epi32(x); }
APUS_INLINE vf vi_to_float(vi x) { return _mm256_cvtepi32_ps(x); }
APUS_INLINE vf vi_pow2(vi n) { return vi_float(vi_shl(vi_add(n, vi_set1(127)), 23)); }

APUS_INLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
APUS_INLINE void vi_store(int32_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
APUS_INLINE vi vi_load_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
APUS_INLINE vi vi_load_s8(const int8_t *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
APUS_INLINE vi vi_load_u16(const uint16_t *p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)); }
#define V_LOAD_F16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
APUS_INLINE vi vi_load_s16(const int16_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
APUS_INLINE void vi_store_low8(uint8_t *p, vi x) {
  const __m128i each = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m128i low = _mm_shuffle_epi8(_mm256_castsi256_si128(x), each);
  const __m128i high = _mm_shuffle_epi8(_mm256_extracti128_si256(x, 1), each);
  _mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(low, high));
}
// The elements of a, b, c and d, saturated to s8 or u8 (by way of s16).
#define VI_STORE_SATURATED
APUS_INLINE void vi_store_saturated(uint8_t *p, vi a, vi b, vi c, vi d, int is_signed) {
  const vi ab = _mm256_packs_epi32(a, b), cd = _mm256_packs_epi32(c, d);
  const vi codes = is_signed ? _mm256_packs_epi16(ab, cd) : _mm256_packus_epi16(ab, cd);
  _mm256_storeu_si256((__m256i *)p, _mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}
APUS_INLINE void vi_store_low16(uint16_t *p, vi x) {
  const __m128i each = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m128i low = _mm_shuffle_epi8(_mm256_castsi256_si128(x), each);
  const __m128i high = _mm_shuffle_epi8(_mm256_extracti128_si256(x, 1), each);
  _mm_storeu_si128((__m128i *)p, _mm_unpacklo_epi64(low, high));
}

// Row `number` of a table of 16 times 16 bytes: `result`, with the row's bytes where x points into the row, elsewhere unchanged.
#define VI_LOOKUP
APUS_INLINE vi vi_table_row(const uint8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
APUS_INLINE vi vi_lookup(vi result, vi x, vi row, int number) {
  const vi index = _mm256_adds_epu8(_mm256_xor_si256(x, _mm256_set1_epi8((char)(number << 4))), _mm256_set1_epi8(0x70));
  return _mm256_or_si256(result, _mm256_shuffle_epi8(row, index));
}

APUS_INLINE float v_sum(vf x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
APUS_INLINE float v_hmax(vf x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
APUS_INLINE float v_hmin(vf x) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}

APUS_END

#endif
