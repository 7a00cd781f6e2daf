#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "qblocks_levels.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON
#define MR 4

// Sums of two products fit 16 bits where codes have at most 7 bits.
APUS_INLINE int16x8_t pairs(vi codes, vi a) {
  const int8x16_t x = vreinterpretq_s8_s32(codes), y = vreinterpretq_s8_s32(a);
  return vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y));
}

// Codes of 8 bits are taken in halves.
APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  if (bits < 8) return vpadalq_s16(sum, pairs(codes, a));
  const vi mask = vi_set1(0x0f0f0f0f), high = vpaddlq_s16(pairs(vi_and(vi_shr(codes, 4), mask), a));
  return vi_add(vpadalq_s16(sum, pairs(vi_and(codes, mask), a)), vi_shl(high, 4));
}

#include "qblocks_body.h"
#endif
