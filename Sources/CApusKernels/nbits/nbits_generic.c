#include "../simd/vec_generic.h"

#define APUS_LEVEL generic
#define APUS_LEVEL_ISA APUS_ISA_GENERIC

APUS_INLINE vf spread(const float *p, size_t count, unsigned shift) {
  (void)count;
  (void)shift;
  return *p;
}

APUS_INLINE vi load_words(const uint8_t *p, size_t count) {
  vi word = 0;
  if (count) memcpy(&word, p, sizeof word);
  return word;
}

APUS_INLINE vf decode(vi words, int bits, int j) {
  return (float)((vi)((uint32_t)words >> (bits * j) & ((1u << bits) - 1)) - (1 << (bits - 1)));
}

#include "nbits_body.h"
