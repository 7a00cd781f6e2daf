#include "../simd/vec_generic.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC
#define MR 4
#define NR 8
typedef int16_t a_element;

// Two sums for each column, added in the end, of pairs of 16-bit products: the shape that compilers turn into the
// pairwise multiply-add of a baseline such as SSE2. Row by row, because more sums than these do not fit its registers.
APUS_INLINE void tile(int rows, size_t groups, const int16_t *a, size_t a_stride, const int8_t *b, int32_t *sums) {
  for (int r = 0; r < rows; r++, a += a_stride) {
    uint32_t acc[2 * NR] = {0};
    for (size_t g = 0; g < groups; g++) {
      int16_t elements[4 * NR], four[4 * NR];
      for (int j = 0; j < 4 * NR; j++) elements[j] = b[g * 4 * NR + (size_t)j];
      for (int j = 0; j < NR; j++) memcpy(four + 4 * j, a + 4 * g, 4 * sizeof *a);
      for (int i = 0; i < 2 * NR; i++) {
        const int32_t pair = four[2 * i] * elements[2 * i] + four[2 * i + 1] * elements[2 * i + 1];
        acc[i] += (uint32_t)pair;
      }
    }
    for (int j = 0; j < NR; j++) sums[r * NR + j] = (int32_t)(acc[2 * j] + acc[2 * j + 1]);
  }
}

#include "qgemm_body.h"
