#if defined(__aarch64__)
#include <string.h>

#include "../simd/vec_neon.h"
#include "qgemm_codes.h"

#define APUS_LEVEL neoni8mm
#define APUS_LEVEL_ISA APUS_ISA_NEONI8MM
#define MR 8
#define NR 8
#define READS_A 1
typedef uint8_t a_element;

APUS_BEGIN_NEONI8MM

// Two rows and two columns, eight terms each: lanes 0 and 1 of a sum are the upper row's. `b` holds two groups, or one where
// `single`; `halves` is 1 or 2 halves of a panel.
APUS_INLINE void squares(int pairs, int halves, const uint8x16_t *x, const int8_t *b, int single, int32x4_t (*sum)[NR / 2]) {
  int8x16_t columns[NR / 2];
  for (int j = 0; j < 2 * halves; j += 2) {
    // From four columns of four elements to two columns of eight.
    const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(b + 8 * j));
    const int32x4_t second = single ? vdupq_n_s32(0) : vreinterpretq_s32_s8(vld1q_s8(b + 4 * NR + 8 * j));
    columns[j] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    columns[j + 1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
  }
  for (int p = 0; p < pairs; p++)
    for (int j = 0; j < 2 * halves; j++) sum[p][j] = vusmmlaq_s32(sum[p][j], x[p], columns[j]);
}

// An odd row is its own partner.
APUS_INLINE void tile(int rows, int is_narrow, int flips, size_t taps, size_t groups, const uint8_t *const *a, const int8_t *b,
                      const int32_t *initial, int32_t *sums, const tile_codes *codes) {
  (void)codes;
  const int pairs = (rows + 1) / 2, halves = is_narrow ? 1 : 2;
  const uint8x16_t flip = vdupq_n_u8(flips ? 0x80 : 0);
  int32x4_t sum[MR / 2][NR / 2];
  uint8x16_t x[MR / 2], next[MR / 2];
  for (int j = 0; j < 2 * halves; j++) {
    const int32x2_t start = vld1_s32(initial + 2 * j);
    for (int p = 0; p < pairs; p++) sum[p][j] = vcombine_s32(start, start);
  }
  for (size_t t = 0; t < taps; t++, a += MR) {
    const uint8_t *upper[MR / 2], *lower[MR / 2];
    for (int p = 0; p < pairs; p++) {
      upper[p] = a[2 * p];
      lower[p] = 2 * p + 1 < rows ? a[2 * p + 1] : a[2 * p];
    }
    size_t g = 0;
    for (; g + 4 <= groups; g += 4, b += 16 * NR) {
      for (int p = 0; p < pairs; p++) {
        const uint64x2_t first = vreinterpretq_u64_u8(veorq_u8(vld1q_u8(upper[p] + 4 * g), flip));
        const uint64x2_t second = vreinterpretq_u64_u8(veorq_u8(vld1q_u8(lower[p] + 4 * g), flip));
        x[p] = vreinterpretq_u8_u64(vzip1q_u64(first, second));
        next[p] = vreinterpretq_u8_u64(vzip2q_u64(first, second));
      }
      squares(pairs, halves, x, b, 0, sum);
      squares(pairs, halves, next, b + 8 * NR, 0, sum);
    }
    if (g + 2 <= groups) {
      for (int p = 0; p < pairs; p++)
        x[p] = veorq_u8(vcombine_u8(vld1_u8(upper[p] + 4 * g), vld1_u8(lower[p] + 4 * g)), flip);
      squares(pairs, halves, x, b, 0, sum);
      g += 2, b += 8 * NR;
    }
    if (g < groups) {
      for (int p = 0; p < pairs; p++) {
        uint32_t first, second;
        memcpy(&first, upper[p] + 4 * g, sizeof first);
        memcpy(&second, lower[p] + 4 * g, sizeof second);
        // What the flip makes of the empty half meets elements of B that are 0.
        x[p] = veorq_u8(vcombine_u8(vcreate_u8(first), vcreate_u8(second)), flip);
      }
      squares(pairs, halves, x, b, 1, sum);
      b += 4 * NR;
    }
  }
  for (int p = 0; p < pairs; p++) {
    for (int j = 0; j < 2 * halves; j++) {
      vst1_s32(sums + 2 * p * NR + 2 * j, vget_low_s32(sum[p][j]));
      if (2 * p + 1 < rows) vst1_s32(sums + (2 * p + 1) * NR + 2 * j, vget_high_s32(sum[p][j]));
    }
  }
}

#include "qgemm_body.h"
APUS_END
#endif
