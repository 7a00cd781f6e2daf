#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx512.h"
#include "qgemm_codes.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI
#define MR 8
#define DPBUSD _mm512_dpbusd_epi32
#define STORES_CODES 1

APUS_BEGIN_AVX512VNNI

APUS_INLINE __m512i rounded(__m512i sums, __m512 scale) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
}

APUS_INLINE void store_row(const tile_codes *codes, int r, __m256i row) {
  uint8_t *to = codes->to + (size_t)r * codes->stride;
  if (codes->columns == 2 * VW) _mm256_storeu_si256((__m256i *)to, row);
  else _mm256_mask_storeu_epi8(to, (__mmask32)((1ull << codes->columns) - 1), row);
}

// Saturation by the instructions that narrow: to 16 bits, the zero point, to 8 bits. They work within 128-bit lanes, so that
// two rows come out as columns 0-3 and 16-19 of the first, the same of the second, and so on.
APUS_INLINE void store_codes(int rows, int is_narrow, const __m512i *left, const __m512i *right, const tile_codes *codes) {
  const __m512 scale0 = _mm512_loadu_ps(codes->scales);
  const __m512 scale1 = is_narrow ? scale0 : _mm512_loadu_ps(codes->scales + 16);
  const __m512i zero_point = _mm512_set1_epi16((int16_t)codes->zero_point);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  // Unrolled, so that the sums never become an array in memory.
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r += 2) {
    __m512i words[2];
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; i++) {
      const int row = r + i < rows ? r + i : r;
      __m512i s0 = left[row], s1 = is_narrow ? left[row] : right[row];
      if (codes->row_sums) {
        const __m512i row_sum = _mm512_set1_epi32((int32_t)codes->row_sums[row]);
        s0 = _mm512_sub_epi32(s0, _mm512_mullo_epi32(_mm512_loadu_si512(codes->b_zero_points), row_sum));
        if (!is_narrow) s1 = _mm512_sub_epi32(s1, _mm512_mullo_epi32(_mm512_loadu_si512(codes->b_zero_points + 16), row_sum));
      }
      const __m512i first = rounded(s0, scale0), second = is_narrow ? first : rounded(s1, scale1);
      words[i] = _mm512_adds_epi16(_mm512_packs_epi32(first, second), zero_point);
    }
    __m512i both = codes->is_signed ? _mm512_packs_epi16(words[0], words[1]) : _mm512_packus_epi16(words[0], words[1]);
    both = _mm512_permutexvar_epi32(order, both);
    store_row(codes, r, _mm512_castsi512_si256(both));
    if (r + 1 < rows) store_row(codes, r + 1, _mm512_extracti64x4_epi64(both, 1));
  }
}

#include "qgemm_vnni.h"
APUS_END
#endif
