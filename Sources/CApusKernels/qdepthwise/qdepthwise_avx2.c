#if defined(__x86_64__)
#include <stdbool.h>
#include <string.h>

#include "../simd/vec_avx2.h"

#define APUS_LEVEL avx2
#define APUS_LEVEL_ISA APUS_ISA_AVX2

APUS_BEGIN_AVX2

// Sixteen 16-bit numbers; two taps' are interleaved within 128-bit lanes, and sums come out in that order.
#define PAIR_WIDTH 16
#define MOST_PAIRS 32
typedef __m256i pair;
APUS_INLINE pair pair_zero(void) { return _mm256_setzero_si256(); }
APUS_INLINE pair pair_load(const int16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
APUS_INLINE pair pair_widen(const uint8_t *p, bool is_signed) {
  const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  return is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}
APUS_INLINE pair pair_low(pair a, pair b) { return _mm256_unpacklo_epi16(a, b); }
APUS_INLINE pair pair_high(pair a, pair b) { return _mm256_unpackhi_epi16(a, b); }
APUS_INLINE vi pair_multiply(vi sum, pair a, pair b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
APUS_INLINE vi pair_first(vi low, vi high) { return _mm256_permute2x128_si256(low, high, 0x20); }
APUS_INLINE vi pair_second(vi low, vi high) { return _mm256_permute2x128_si256(low, high, 0x31); }

#include "qdepthwise_body.h"
APUS_END
#endif
