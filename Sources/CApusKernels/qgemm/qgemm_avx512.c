#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512
#define MR 8
#define NR 16
typedef int16_t a_element;

APUS_BEGIN_AVX512

// As on AVX2, twice as wide.
APUS_INLINE void tile(int rows, size_t groups, const int16_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  __m512i left[MR], right[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = _mm512_setzero_si512();
  for (size_t g = 0; g < groups; g++, a += 4, b += 4 * NR) {
    const __m512i b0 = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)b));
    const __m512i b1 = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(b + 32)));
    for (int r = 0; r < rows; r++) {
      int64_t four;
      memcpy(&four, a + (size_t)r * a_stride, sizeof four);
      const __m512i x = _mm512_set1_epi64(four);
      left[r] = _mm512_add_epi32(left[r], _mm512_madd_epi16(x, b0));
      right[r] = _mm512_add_epi32(right[r], _mm512_madd_epi16(x, b1));
    }
  }
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  for (int r = 0; r < rows; r++) {
    const __m512i first = _mm512_permutex2var_epi32(left[r], even, right[r]);
    const __m512i second = _mm512_permutex2var_epi32(left[r], odd, right[r]);
    _mm512_storeu_si512(sums + r * NR, _mm512_add_epi32(first, second));
  }
}

#include "qgemm_body.h"
APUS_END
#endif
