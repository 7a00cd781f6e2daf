// The dot products of levels with VNNI, by the intrinsic DPBUSD.
APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  (void)bits;
  return DPBUSD(sum, codes, a);
}

#include "qblocks_body.h"
