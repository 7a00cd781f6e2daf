#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "qblocks_levels.h"

#define APUS_LEVEL neondot
#define APUS_LEVEL_ISA APUS_ISA_NEONDOT
#define MR 4

APUS_BEGIN_NEONDOT

// The instruction takes operands of one sign. Codes of 8 bits are lowered by 128, and 128 times A's elements, which are the same in
// every column, are added.
APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  const int8x16_t x = vreinterpretq_s8_s32(codes), y = vreinterpretq_s8_s32(a), lowest = vdupq_n_s8(-128);
  if (bits < 8) return vdotq_s32(sum, x, y);
  return vi_sub(vdotq_s32(sum, veorq_s8(x, lowest), y), vdotq_s32(vi_set1(0), lowest, y));
}

#include "qblocks_body.h"
APUS_END
#endif
