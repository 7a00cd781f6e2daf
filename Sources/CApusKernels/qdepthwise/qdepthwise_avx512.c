#if defined(__x86_64__)
#include <stdbool.h>
#include <string.h>

#include "../simd/vec_avx512.h"

#define APUS_LEVEL avx512
#define APUS_LEVEL_ISA APUS_ISA_AVX512

APUS_BEGIN_AVX512

// Thirty-two 16-bit numbers; two taps' are interleaved within 128-bit lanes, and sums come out in that order.
#define PAIR_WIDTH 32
#define MOST_PAIRS 32
typedef __m512i pair;
APUS_INLINE pair pair_zero(void) { return _mm512_setzero_si512(); }
APUS_INLINE pair pair_load(const int16_t *p) { return _mm512_loadu_si512(p); }
APUS_INLINE pair pair_widen(const uint8_t *p, bool is_signed) {
  const __m256i bytes = _mm256_loadu_si256((const __m256i *)p);
  return is_signed ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
}
APUS_INLINE pair pair_low(pair a, pair b) { return _mm512_unpacklo_epi16(a, b); }
APUS_INLINE pair pair_high(pair a, pair b) { return _mm512_unpackhi_epi16(a, b); }
APUS_INLINE vi pair_multiply(vi sum, pair a, pair b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
APUS_INLINE vi pair_first(vi low, vi high) {
  return _mm512_permutex2var_epi32(low, _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), high);
}
APUS_INLINE vi pair_second(vi low, vi high) {
  return _mm512_permutex2var_epi32(low, _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), high);
}

#include "qdepthwise_body.h"
APUS_END
#endif
