#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"
#include "qgemm_codes.h"

#define APUS_LEVEL neondot
#define APUS_LEVEL_ISA APUS_ISA_NEONDOT
#define MR 8
#define NR 8
#define READS_A 1
typedef uint8_t a_element;

APUS_BEGIN_NEONDOT

// One group of four of each row, chosen by a lane of x, which needs to be a constant.
#define GROUP(LANE)                                                              \
  do {                                                                           \
    const int8x16_t b0 = vld1q_s8(b), b1 = is_narrow ? b0 : vld1q_s8(b + 16);    \
    for (int r = 0; r < rows; r++) {                                             \
      left[r] = vdotq_laneq_s32(left[r], b0, x[r], LANE);                        \
      if (!is_narrow) right[r] = vdotq_laneq_s32(right[r], b1, x[r], LANE);      \
    }                                                                            \
    b += 4 * NR;                                                                 \
  } while (0)

// The instruction takes operands of one sign: A is lowered by 128 on its way, unless it is to be raised by as much, and 128 times
// the column sums, which stand behind the panel's elements, are added in the end.
APUS_INLINE void tile(int rows, int is_narrow, int flips, size_t taps, size_t groups, const uint8_t *const *a, const int8_t *b,
                      const int32_t *initial, int32_t *sums, const tile_codes *codes) {
  (void)codes;
  const uint8x16_t flip = vdupq_n_u8(flips ? 0 : 0x80);
  int32x4_t left[MR], right[MR];
  int8x16_t x[MR];
  for (int r = 0; r < rows; r++) {
    left[r] = vld1q_s32(initial);
    if (!is_narrow) right[r] = vld1q_s32(initial + 4);
  }
  for (size_t t = 0; t < taps; t++, a += MR) {
    const uint8_t *row[MR];
    for (int r = 0; r < rows; r++) row[r] = a[r];
    size_t g = 0;
    for (; g + 4 <= groups; g += 4) {
      for (int r = 0; r < rows; r++) x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row[r] + 4 * g), flip));
      GROUP(0);
      GROUP(1);
      GROUP(2);
      GROUP(3);
    }
    for (; g < groups; g++) {
      for (int r = 0; r < rows; r++) {
        uint32_t four;
        memcpy(&four, row[r] + 4 * g, sizeof four);
        x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
      }
      GROUP(0);
    }
  }
  const int32_t *column_sums = (const int32_t *)(const void *)b;
  const int32x4_t more_left = vshlq_n_s32(vld1q_s32(column_sums), 7), more_right = vshlq_n_s32(vld1q_s32(column_sums + 4), 7);
  for (int r = 0; r < rows; r++) {
    vst1q_s32(sums + r * NR, vaddq_s32(left[r], more_left));
    if (!is_narrow) vst1q_s32(sums + r * NR + 4, vaddq_s32(right[r], more_right));
  }
}
#undef GROUP

#include "qgemm_body.h"
APUS_END
#endif
