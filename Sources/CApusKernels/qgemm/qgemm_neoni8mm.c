#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neoni8mm
#define APUS_LEVEL_ISA APUS_ISA_NEONI8MM
#define MR 8
#define NR 8
typedef uint8_t a_element;

APUS_BEGIN_NEONI8MM

// Two rows and two columns, eight terms each: s[0] and s[1] are the first row's sums.
APUS_INLINE void squares(int pairs, const uint8x16_t *x, int8x16_t b0, int8x16_t b1, int8x16_t next0, int8x16_t next1,
                         int32x4_t (*sum)[NR / 2]) {
  // From four columns of four elements to two columns of eight.
  const int32x4_t first = vreinterpretq_s32_s8(b0), after = vreinterpretq_s32_s8(next0);
  const int32x4_t second = vreinterpretq_s32_s8(b1), after_second = vreinterpretq_s32_s8(next1);
  const int8x16_t columns[NR / 2] = {
      vreinterpretq_s8_s32(vzip1q_s32(first, after)), vreinterpretq_s8_s32(vzip2q_s32(first, after)),
      vreinterpretq_s8_s32(vzip1q_s32(second, after_second)), vreinterpretq_s8_s32(vzip2q_s32(second, after_second))};
  for (int p = 0; p < pairs; p++)
    for (int j = 0; j < NR / 2; j++) sum[p][j] = vusmmlaq_s32(sum[p][j], x[p], columns[j]);
}

APUS_INLINE void tile(int rows, size_t groups, const uint8_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  const int pairs = (rows + 1) / 2;
  int32x4_t sum[MR / 2][NR / 2];
  uint8x16_t x[MR / 2];
  for (int p = 0; p < pairs; p++)
    for (int j = 0; j < NR / 2; j++) sum[p][j] = vdupq_n_s32(0);
  size_t g = 0;
  for (; g + 2 <= groups; g += 2, a += 8, b += 8 * NR) {
    for (int p = 0; p < pairs; p++) {
      const uint8x8_t upper = vld1_u8(a + (size_t)(2 * p) * a_stride);
      x[p] = vcombine_u8(upper, 2 * p + 1 < rows ? vld1_u8(a + (size_t)(2 * p + 1) * a_stride) : upper);
    }
    squares(pairs, x, vld1q_s8(b), vld1q_s8(b + 16), vld1q_s8(b + 4 * NR), vld1q_s8(b + 4 * NR + 16), sum);
  }
  if (g < groups) {
    for (int p = 0; p < pairs; p++) {
      uint32_t upper, lower;
      memcpy(&upper, a + (size_t)(2 * p) * a_stride, sizeof upper);
      lower = upper;
      if (2 * p + 1 < rows) memcpy(&lower, a + (size_t)(2 * p + 1) * a_stride, sizeof lower);
      x[p] = vcombine_u8(vcreate_u8(upper), vcreate_u8(lower));
    }
    squares(pairs, x, vld1q_s8(b), vld1q_s8(b + 16), vdupq_n_s8(0), vdupq_n_s8(0), sum);
  }
  for (int p = 0; p < pairs; p++) {
    for (int j = 0; j < NR / 2; j++) {
      vst1_s32(sums + 2 * p * NR + 2 * j, vget_low_s32(sum[p][j]));
      if (2 * p + 1 < rows) vst1_s32(sums + (2 * p + 1) * NR + 2 * j, vget_high_s32(sum[p][j]));
    }
  }
}

#include "qgemm_body.h"
APUS_END
#endif
