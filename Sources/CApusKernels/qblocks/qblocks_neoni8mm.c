#if defined(__aarch64__)
#include "../simd/vec_neon.h"
#include "qblocks_levels.h"

#define APUS_LEVEL neoni8mm
#define APUS_LEVEL_ISA APUS_ISA_NEONI8MM
#define MR 4

APUS_BEGIN_NEONI8MM

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  (void)bits;
  return vusdotq_s32(sum, vreinterpretq_u8_s32(codes), vreinterpretq_s8_s32(a));
}

#include "qblocks_body.h"
APUS_END
#endif
