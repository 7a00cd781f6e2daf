#include <string.h>

#include "../cpu/table.h"
#include "qblocks_levels.h"

static const apus_qblocks_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_qblocks_##LEVEL,
#include "qblocks.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_qblocks_kernels, apus_qblocks, table)

size_t apus_qblocks_panels(const apus_qblocks_kernels *kernels, size_t n) { return n / kernels->nr + (n % kernels->nr != 0); }

size_t apus_qblocks_panel_size(const apus_qblocks_kernels *kernels, const apus_qblocks_shape *shape) {
  const size_t column = shape->block_size * shape->bits / 8 + sizeof(float) * (shape->has_zero_points ? 2 : 1);
  return shape->blocks * kernels->nr * column;
}

// The codes of a group of four, one after the other from the lowest bits on, each moved to the low bits of a byte.
static uint32_t spread4(uint32_t group) {
  const uint32_t halves = (group | group << 8) & 0x00ff00ffu;
  return (halves | halves << 4) & 0x0f0f0f0fu;
}

static uint32_t spread2(uint32_t group) {
  const uint32_t halves = (group | group << 12) & 0x000f000fu;
  return (halves | halves << 6) & 0x03030303u;
}

// The 32 bits at p with their groups of four side by side, as tiles want them.
static uint32_t word_of(const uint8_t *p, unsigned bits) {
  const uint32_t word = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
  if (bits == 8) return word;
  if (bits == 4) return spread4(word & 0xffffu) | spread4(word >> 16) << 4;
  return spread2(word & 255u) | spread2(word >> 8 & 255u) << 2 | spread2(word >> 16 & 255u) << 4 | spread2(word >> 24) << 6;
}

void apus_qblocks_pack(const apus_qblocks_kernels *kernels, const apus_qblocks_shape *shape, const uint8_t *codes, const float *scales,
                       const float *zero_points, void *packed, size_t panel_begin, size_t panel_end) {
  const size_t nr = kernels->nr, size = apus_qblocks_panel_size(kernels, shape);
  const size_t block_bytes = shape->block_size * shape->bits / 8, step = size / (shape->blocks ? shape->blocks : 1);
  for (size_t p = panel_begin; p < panel_end; p++) {
    uint8_t *panel = (uint8_t *)packed + p * size;
    const size_t columns = shape->n - p * nr < nr ? shape->n - p * nr : nr;
    if (columns < nr) memset(panel, 0, size);
    for (size_t j = 0; j < columns; j++) {
      const size_t first = (p * nr + j) * shape->blocks;
      for (size_t b = 0; b < shape->blocks; b++) {
        const uint8_t *from = codes + (first + b) * block_bytes;
        uint8_t *to = panel + b * step + 4 * j;
        for (size_t byte = 0; byte < block_bytes; byte += 4, to += 4 * nr) {
          const uint32_t word = word_of(from + byte, shape->bits);
          memcpy(to, &word, sizeof word);
        }
        memcpy(to, scales + first + b, sizeof *scales);
        if (shape->has_zero_points) memcpy(to + 4 * nr, zero_points + first + b, sizeof *zero_points);
      }
    }
  }
}
