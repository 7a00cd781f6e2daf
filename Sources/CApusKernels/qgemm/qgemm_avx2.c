#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx2.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2
#define MR 4
#define NR 8
typedef int16_t a_element;

APUS_BEGIN_AVX2

// 16-bit products, pairs of them added exactly to 32 bits: vpmaddubsw would saturate. Each accumulator holds two sums
// for each of four columns, added in the end.
APUS_INLINE void tile(int rows, size_t groups, const int16_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  __m256i left[MR], right[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++, a += 4, b += 4 * NR) {
    const __m256i b0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)b));
    const __m256i b1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + 16)));
    for (int r = 0; r < rows; r++) {
      int64_t four;
      memcpy(&four, a + (size_t)r * a_stride, sizeof four);
      const __m256i x = _mm256_set1_epi64x(four);
      left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(x, b0));
      right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(x, b1));
    }
  }
  for (int r = 0; r < rows; r++) {
    // The horizontal addition works within halves: columns 0 1 4 5 | 2 3 6 7.
    const __m256i both = _mm256_permute4x64_epi64(_mm256_hadd_epi32(left[r], right[r]), 0xd8);
    _mm256_storeu_si256((__m256i *)(sums + r * NR), both);
  }
}

#include "qgemm_body.h"
APUS_END
#endif
