#if defined(__aarch64__)
#include "../simd/vec_neon.h"

#define APUS_LEVEL neon
#define APUS_LEVEL_ISA APUS_ISA_NEON

APUS_INLINE vf spread(const float *p, size_t count, unsigned shift) {
  if (count == 1) return v_set1(*p);
  const vf some = v_load_n(p, count);
  return shift == 0 ? some : vzip1q_f32(some, some);
}

APUS_INLINE vi load_words(const uint8_t *p, size_t count) {
  return v_bits(v_load_n((const float *)(const void *)p, count));
}

APUS_INLINE vf decode(vi words, int bits, int j) {
  const uint32x4_t shifted = vshlq_u32(vreinterpretq_u32_s32(words), vdupq_n_s32(-bits * j));
  const vi code = vi_and(vreinterpretq_s32_u32(shifted), vi_set1((1 << bits) - 1));
  return vi_to_float(vi_sub(code, vi_set1(1 << (bits - 1))));
}

#include "nbits_body.h"
#endif
