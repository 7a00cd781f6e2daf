#if defined(__aarch64__)
#include <arm_neon.h>

#include "../cpu/target.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON
#define LANES 4
#define VECTORS 2
#define ROWS 8
#include "qwinograd_types.h"

APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  const int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
  return sum + (lanes)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}

#include "qwinograd_body.h"
#endif
