#if defined(__x86_64__)
#include <string.h>

#include "../simd/vec_avx2.h"
#include "qgemm_codes.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define MR 6
#define NR 16
#define READS_A 1
#define DPBUSD _mm256_dpbusd_avx_epi32
typedef uint8_t a_element;

APUS_BEGIN_AVXVNNI

APUS_INLINE void tile(int rows, int is_narrow, int flips, size_t taps, size_t groups, const uint8_t *const *a,
                      const int8_t *b, const int32_t *initial, int32_t *sums, const tile_codes *codes) {
  (void)codes;
  __m256i left[MR], right[MR];
  const __m256i flip = _mm256_set1_epi32((int32_t)0x80808080);
  for (int r = 0; r < rows; r++) {
    left[r] = _mm256_loadu_si256((const __m256i *)initial);
    if (!is_narrow) right[r] = _mm256_loadu_si256((const __m256i *)(initial + 8));
  }
  for (size_t t = 0; t < taps; t++, a += MR) {
    const uint8_t *row[MR];
    for (int r = 0; r < rows; r++) row[r] = a[r];
    for (size_t g = 0; g < groups; g++, b += 4 * NR) {
      const __m256i b0 = _mm256_loadu_si256((const __m256i *)b);
      const __m256i b1 = is_narrow ? b0 : _mm256_loadu_si256((const __m256i *)(b + 32));
      for (int r = 0; r < rows; r++) {
        int32_t four;
        memcpy(&four, row[r] + 4 * g, sizeof four);
        __m256i x = _mm256_set1_epi32(four);
        if (flips) x = _mm256_xor_si256(x, flip);
        left[r] = DPBUSD(left[r], x, b0);
        if (!is_narrow) right[r] = DPBUSD(right[r], x, b1);
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    _mm256_storeu_si256((__m256i *)(sums + r * NR), left[r]);
    if (!is_narrow) _mm256_storeu_si256((__m256i *)(sums + r * NR + 8), right[r]);
  }
}

#include "qgemm_body.h"
APUS_END
#endif
