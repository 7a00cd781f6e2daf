#include "../simd/vec_generic.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC
#define MR 4
#define NR 8
typedef int16_t a_element;

// Four sums for each column, one per place in the group, added in the end: columns times places are then the lanes of
// plain loops that the compiler turns into whatever vectors the baseline has.
APUS_INLINE void tile(int rows, size_t groups, const int16_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  for (int r = 0; r < rows; r++) {
    const int16_t *row = a + (size_t)r * a_stride;
    uint32_t acc[4 * NR] = {0};
    for (size_t g = 0; g < groups; g++) {
      int16_t four[4 * NR];
      for (int j = 0; j < NR; j++) memcpy(four + 4 * j, row + 4 * g, 4 * sizeof *row);
      // An element is at most 255 * 128 in size: the products need the full 32 bits, the sums wrap.
      for (int j = 0; j < 4 * NR; j++) acc[j] += (uint32_t)((int32_t)four[j] * (int32_t)b[g * 4 * NR + (size_t)j]);
    }
    for (int j = 0; j < NR; j++) {
      sums[r * NR + j] = (int32_t)(acc[4 * j] + acc[4 * j + 1] + acc[4 * j + 2] + acc[4 * j + 3]);
    }
  }
}

#include "qgemm_body.h"
