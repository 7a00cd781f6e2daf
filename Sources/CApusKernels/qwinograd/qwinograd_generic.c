#include "../cpu/target.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC
#define LANES 4
#define VECTORS 2
#define ROWS 4
#include "qwinograd_types.h"

// No pair of products passes 2^31: |V| <= 25500 and |U| <= 6272.
APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  const signed_lanes low = ((signed_lanes)((lanes)a << 16) >> 16) * ((signed_lanes)((lanes)b << 16) >> 16);
  return sum + (lanes)low + (lanes)(((signed_lanes)a >> 16) * ((signed_lanes)b >> 16));
}

#include "qwinograd_body.h"
