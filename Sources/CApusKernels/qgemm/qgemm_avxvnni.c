#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx2.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define MR 6
#define NR 16
typedef uint8_t a_element;

APUS_BEGIN_AVXVNNI

APUS_INLINE void tile(int rows, size_t groups, const uint8_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  __m256i left[MR], right[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++, a += 4, b += 4 * NR) {
    const __m256i b0 = _mm256_loadu_si256((const __m256i *)b), b1 = _mm256_loadu_si256((const __m256i *)(b + 32));
    for (int r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, a + (size_t)r * a_stride, sizeof four);
      const __m256i x = _mm256_set1_epi32(four);
      left[r] = _mm256_dpbusd_avx_epi32(left[r], x, b0);
      right[r] = _mm256_dpbusd_avx_epi32(right[r], x, b1);
    }
  }
  for (int r = 0; r < rows; r++) {
    _mm256_storeu_si256((__m256i *)(sums + r * NR), left[r]);
    _mm256_storeu_si256((__m256i *)(sums + r * NR + 8), right[r]);
  }
}

#include "qgemm_body.h"
APUS_END
#endif
