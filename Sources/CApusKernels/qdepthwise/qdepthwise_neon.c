#if defined(__aarch64__)
#include <stdbool.h>
#include <string.h>

#include "../simd/vec_neon.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON

// Eight 16-bit numbers. Four of one tap stand beside four of another, and the widening multiply-adds of the two halves meet in
// the same four sums, in their order.
#define PAIR_WIDTH 8
#define MOST_PAIRS 32
typedef int16x8_t pair;
APUS_INLINE pair pair_zero(void) { return vdupq_n_s16(0); }
APUS_INLINE pair pair_load(const int16_t *p) { return vld1q_s16(p); }
APUS_INLINE pair pair_widen(const uint8_t *p, bool is_signed) {
  const uint8x8_t bytes = vld1_u8(p);
  return is_signed ? vmovl_s8(vreinterpret_s8_u8(bytes)) : vreinterpretq_s16_u16(vmovl_u8(bytes));
}
APUS_INLINE pair pair_low(pair a, pair b) { return vcombine_s16(vget_low_s16(a), vget_low_s16(b)); }
APUS_INLINE pair pair_high(pair a, pair b) { return vcombine_s16(vget_high_s16(a), vget_high_s16(b)); }
APUS_INLINE vi pair_multiply(vi sum, pair a, pair b) {
  return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)), a, b);
}
APUS_INLINE vi pair_first(vi low, vi high) { (void)high; return low; }
APUS_INLINE vi pair_second(vi low, vi high) { (void)low; return high; }

#include "qdepthwise_body.h"
#endif
