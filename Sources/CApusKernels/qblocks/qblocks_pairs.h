// The dot products of levels without VNNI. Pairs of products fit 16 bits where codes have at most 7 bits; codes of 8 are taken in
// halves.
APUS_INLINE vi products(vi codes, vi a, int32_t factor) { return vi_pairs16(vi_pairs8(codes, a), vi_set1(factor * 0x10001)); }

APUS_INLINE vi dot(vi sum, vi codes, vi a, int bits) {
  if (bits < 8) return vi_add(sum, products(codes, a, 1));
  const vi mask = vi_set1(0x0f0f0f0f);
  return vi_add(sum, vi_add(products(vi_and(codes, mask), a, 1), products(vi_and(vi_shr(codes, 4), mask), a, 16)));
}

#include "qblocks_body.h"
