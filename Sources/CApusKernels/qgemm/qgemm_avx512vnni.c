#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI
#define MR 8
#define NR 32
typedef uint8_t a_element;

APUS_BEGIN_AVX512VNNI

APUS_INLINE void tile(int rows, size_t groups, const uint8_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  __m512i left[MR], right[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = _mm512_setzero_si512();
  for (size_t g = 0; g < groups; g++, a += 4, b += 4 * NR) {
    const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
    for (int r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, a + (size_t)r * a_stride, sizeof four);
      const __m512i x = _mm512_set1_epi32(four);
      left[r] = _mm512_dpbusd_epi32(left[r], x, b0);
      right[r] = _mm512_dpbusd_epi32(right[r], x, b1);
    }
  }
  for (int r = 0; r < rows; r++) {
    _mm512_storeu_si512(sums + r * NR, left[r]);
    _mm512_storeu_si512(sums + r * NR + 16, right[r]);
  }
}

#include "qgemm_body.h"
APUS_END
#endif
