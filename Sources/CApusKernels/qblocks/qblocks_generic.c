#include "../simd/vec_generic.h"
#include "qblocks_levels.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC
#define MR 4

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  (void)bits;
  for (int i = 0; i < 4; i++)
    sum += (int32_t)((uint32_t)codes >> (8 * i) & 255) * (int8_t)((uint32_t)a >> (8 * i));
  return sum;
}

#include "qblocks_body.h"
