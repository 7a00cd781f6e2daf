#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON
#define MR 8
#define NR 8
typedef int16_t a_element;

// Widening multiply-adds of 16-bit numbers, one of A's with four columns: exact, where adding pairs of 8-bit products in 16
// bits would wrap.
APUS_INLINE void tile(int rows, size_t groups, const int16_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  static const uint8_t order[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  const uint8x16_t by_row = vld1q_u8(order);
  int32x4_t left[MR], right[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = vdupq_n_s32(0);
  for (size_t g = 0; g < groups; g++, a += 4, b += 4 * NR) {
    const int8x16_t first = vqtbl1q_s8(vld1q_s8(b), by_row), second = vqtbl1q_s8(vld1q_s8(b + 16), by_row);
    const int16x8_t first01 = vmovl_s8(vget_low_s8(first)), first23 = vmovl_high_s8(first);
    const int16x8_t second01 = vmovl_s8(vget_low_s8(second)), second23 = vmovl_high_s8(second);
    for (int r = 0; r < rows; r++) {
      const int16x4_t x = vld1_s16(a + (size_t)r * a_stride);
      left[r] = vmlal_lane_s16(left[r], vget_low_s16(first01), x, 0);
      right[r] = vmlal_lane_s16(right[r], vget_low_s16(second01), x, 0);
      left[r] = vmlal_high_lane_s16(left[r], first01, x, 1);
      right[r] = vmlal_high_lane_s16(right[r], second01, x, 1);
      left[r] = vmlal_lane_s16(left[r], vget_low_s16(first23), x, 2);
      right[r] = vmlal_lane_s16(right[r], vget_low_s16(second23), x, 2);
      left[r] = vmlal_high_lane_s16(left[r], first23, x, 3);
      right[r] = vmlal_high_lane_s16(right[r], second23, x, 3);
    }
  }
  for (int r = 0; r < rows; r++) {
    vst1q_s32(sums + r * NR, left[r]);
    vst1q_s32(sums + r * NR + 4, right[r]);
  }
}

#include "qgemm_body.h"
#endif
