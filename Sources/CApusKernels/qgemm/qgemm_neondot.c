#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neondot
#define APUS_LEVEL_ISA APUS_ISA_NEONDOT
#define MR 8
#define NR 8
typedef uint8_t a_element;

APUS_BEGIN_NEONDOT

// One group of four of each row, chosen by a lane of x, which needs to be a constant.
#define GROUP(LANE)                                                \
  do {                                                             \
    const int8x16_t b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);       \
    for (int r = 0; r < rows; r++) {                               \
      left[r] = vdotq_laneq_s32(left[r], b0, x[r], LANE);          \
      right[r] = vdotq_laneq_s32(right[r], b1, x[r], LANE);        \
    }                                                              \
    b += 4 * NR;                                                   \
  } while (0)

// The instruction takes operands of one sign: A is lowered by 128 on its way, and 128 times the column sums, which stand behind
// the panel's elements, are added in the end.
APUS_INLINE void tile(int rows, size_t groups, const uint8_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  const uint8x16_t flip = vdupq_n_u8(0x80);
  int32x4_t left[MR], right[MR];
  int8x16_t x[MR];
  for (int r = 0; r < rows; r++) left[r] = right[r] = vdupq_n_s32(0);
  size_t g = 0;
  for (; g + 4 <= groups; g += 4, a += 16) {
    for (int r = 0; r < rows; r++) x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a + (size_t)r * a_stride), flip));
    GROUP(0);
    GROUP(1);
    GROUP(2);
    GROUP(3);
  }
  for (; g < groups; g++, a += 4) {
    for (int r = 0; r < rows; r++) {
      uint32_t four;
      memcpy(&four, a + (size_t)r * a_stride, sizeof four);
      x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
    }
    GROUP(0);
  }
  const int32_t *column_sums = (const int32_t *)(const void *)b;
  const int32x4_t more_left = vshlq_n_s32(vld1q_s32(column_sums), 7), more_right = vshlq_n_s32(vld1q_s32(column_sums + 4), 7);
  for (int r = 0; r < rows; r++) {
    vst1q_s32(sums + r * NR, vaddq_s32(left[r], more_left));
    vst1q_s32(sums + r * NR + 4, vaddq_s32(right[r], more_right));
  }
}
#undef GROUP

#include "qgemm_body.h"
APUS_END
#endif
