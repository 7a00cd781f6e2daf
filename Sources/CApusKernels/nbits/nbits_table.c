#include <string.h>

#include "../cpu/table.h"
#include "apus_nbits.h"

#define KERNELS(LEVEL) extern const apus_nbits_kernels apus_nbits_##LEVEL;
#include "nbits.def"
#undef KERNELS

static const apus_nbits_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_nbits_##LEVEL,
#include "nbits.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_nbits_kernels, apus_nbits, table)

// Words of 32 bits in a row of codes, padded to whole vectors.
static size_t words(const apus_nbits_kernels *kernels, unsigned bits, size_t block_size, size_t blocks) {
  const size_t count = blocks * block_size * bits / 32;
  return (count + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
}

size_t apus_nbits_arranged_size(const apus_nbits_kernels *kernels, unsigned bits, size_t block_size, size_t blocks) {
  return words(kernels, bits, block_size, blocks) * (32 / bits + 1);
}

void apus_nbits_arrange(const apus_nbits_kernels *kernels, unsigned bits, size_t block_size, size_t blocks, size_t k, const float *a,
                        float *arranged) {
  const size_t count = words(kernels, bits, block_size, blocks), lanes = kernels->lanes, per_word = 32 / bits;
  float *sums = arranged + count * per_word;
  for (size_t word = 0; word < count; word++) {
    float *to = arranged + word / lanes * lanes * per_word + word % lanes;
    float sum = 0;
    for (size_t j = 0; j < per_word; j++) {
      const size_t i = word * per_word + j;
      const float value = i < k ? a[i] : 0;
      to[j * lanes] = value;
      sum += value;
    }
    sums[word] = sum;
  }
}
