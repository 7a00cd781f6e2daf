#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neoni8mm
#define APUS_LEVEL_ISA APUS_ISA_NEONI8MM
#define MR 8
#define NR 8
typedef uint8_t a_element;

APUS_BEGIN_NEONI8MM

// Two rows and two columns, eight terms each: lanes 0 and 1 of a sum are the upper row's. `b` holds two groups, or one where
// `single`.
APUS_INLINE void squares(int pairs, const uint8x16_t *x, const int8_t *b, int single, int32x4_t (*sum)[NR / 2]) {
  int8x16_t columns[NR / 2];
  for (int j = 0; j < NR / 2; j += 2) {
    // From four columns of four elements to two columns of eight.
    const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(b + 8 * j));
    const int32x4_t second = single ? vdupq_n_s32(0) : vreinterpretq_s32_s8(vld1q_s8(b + 4 * NR + 8 * j));
    columns[j] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    columns[j + 1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
  }
  for (int p = 0; p < pairs; p++)
    for (int j = 0; j < NR / 2; j++) sum[p][j] = vusmmlaq_s32(sum[p][j], x[p], columns[j]);
}

// An odd row is its own partner.
APUS_INLINE void tile(int rows, size_t groups, const uint8_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  const int pairs = (rows + 1) / 2;
  int32x4_t sum[MR / 2][NR / 2];
  uint8x16_t x[MR / 2], next[MR / 2];
  for (int p = 0; p < pairs; p++)
    for (int j = 0; j < NR / 2; j++) sum[p][j] = vdupq_n_s32(0);
  size_t g = 0;
  for (; g + 4 <= groups; g += 4, a += 16, b += 16 * NR) {
    for (int p = 0; p < pairs; p++) {
      const uint64x2_t upper = vreinterpretq_u64_u8(vld1q_u8(a + (size_t)(2 * p) * a_stride));
      const uint64x2_t lower = 2 * p + 1 < rows ? vreinterpretq_u64_u8(vld1q_u8(a + (size_t)(2 * p + 1) * a_stride)) : upper;
      x[p] = vreinterpretq_u8_u64(vzip1q_u64(upper, lower));
      next[p] = vreinterpretq_u8_u64(vzip2q_u64(upper, lower));
    }
    squares(pairs, x, b, 0, sum);
    squares(pairs, next, b + 8 * NR, 0, sum);
  }
  if (g + 2 <= groups) {
    for (int p = 0; p < pairs; p++) {
      const uint8x8_t upper = vld1_u8(a + (size_t)(2 * p) * a_stride);
      x[p] = vcombine_u8(upper, 2 * p + 1 < rows ? vld1_u8(a + (size_t)(2 * p + 1) * a_stride) : upper);
    }
    squares(pairs, x, b, 0, sum);
    g += 2, a += 8, b += 8 * NR;
  }
  if (g < groups) {
    for (int p = 0; p < pairs; p++) {
      uint32_t upper, lower;
      memcpy(&upper, a + (size_t)(2 * p) * a_stride, sizeof upper);
      lower = upper;
      if (2 * p + 1 < rows) memcpy(&lower, a + (size_t)(2 * p + 1) * a_stride, sizeof lower);
      x[p] = vcombine_u8(vcreate_u8(upper), vcreate_u8(lower));
    }
    squares(pairs, x, b, 1, sum);
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
