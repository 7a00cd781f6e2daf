// B as the kernels read it: groups of four rows, column after column, then the sums of the columns.
//
// Vector extensions, not intrinsics: 16-byte shuffles are in the baseline of every target, and weights are packed once.
#include <string.h>

#include "qgemm_ops.h"

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t words8 __attribute__((vector_size(16)));
typedef uint32_t lanes4 __attribute__((vector_size(16)));
typedef int32_t signed4 __attribute__((vector_size(16)));

#define SHUFFLE __builtin_shufflevector

/// Stores the groups of four columns and adds their elements to the columns' sums.
static inline void put_4(lanes4 groups, int8_t *to, int32_t *sums) {
  memcpy(to, &groups, sizeof groups);
  lanes4 total;
  memcpy(&total, sums, sizeof total);
  total += (lanes4)((signed4)(groups << 24) >> 24) + (lanes4)((signed4)(groups << 16) >> 24);
  total += (lanes4)((signed4)(groups << 8) >> 24) + (lanes4)((signed4)groups >> 24);
  memcpy(sums, &total, sizeof total);
}

/// The same for one column.
static inline void put_1(uint32_t group, int8_t *to, int32_t *sum) {
  int8_t element[4];
  memcpy(element, &group, sizeof element);
  memcpy(to, element, sizeof element);
  *sum = (int32_t)((uint32_t)*sum + (uint32_t)(element[0] + element[1] + element[2] + element[3]));
}

/// Up to four elements of a column as a group; what is missing is 0. The bytes of a number lie lowest first on all targets.
static inline uint32_t group_of(const uint8_t *from, size_t stride, size_t count, uint32_t flip) {
  if (count >= 4)
    return ((uint32_t)from[0] | (uint32_t)from[stride] << 8 | (uint32_t)from[2 * stride] << 16 | (uint32_t)from[3 * stride] << 24) ^ flip;
  uint32_t group = 0;
  for (size_t i = 0; i < count; i++) group |= ((from[i * stride] ^ flip) & 0xFF) << 8 * i;
  return group;
}

/// A panel four rows at a time: for rows whose elements follow one another, and for groups that cross from tap to tap.
static void pack_rows(const apus_qgemm_b *source, const uint8_t *b, size_t columns, size_t nr, uint32_t flip, int8_t *panel,
                      int32_t *sums) {
  const size_t ns = source->n_stride, rows = source->taps * source->k;
  size_t t = 0, i = 0;
  for (size_t row = 0; row < rows; row += 4, panel += 4 * nr) {
    const uint8_t *from[4] = {0};
    const size_t count = rows - row < 4 ? rows - row : 4;
    for (size_t r = 0; r < count; r++) {
      from[r] = b + t * source->tap_stride + i * source->k_stride;
      if (++i == source->k) i = 0, t++;
    }
    size_t j = 0;
    if (ns == 1 && count == 4)
      for (; columns - j >= 16; j += 16) {
        bytes16 r[4];
        for (int c = 0; c < 4; c++) memcpy(&r[c], from[c] + j, sizeof r[c]);
        const words8 a[2] = {(words8)SHUFFLE(r[0], r[1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                             (words8)SHUFFLE(r[0], r[1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
        const words8 z[2] = {(words8)SHUFFLE(r[2], r[3], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                             (words8)SHUFFLE(r[2], r[3], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
        for (size_t h = 0; h < 2; h++) {
          put_4((lanes4)SHUFFLE(a[h], z[h], 0, 8, 1, 9, 2, 10, 3, 11) ^ flip, panel + 4 * j + 32 * h, sums + j + 8 * h);
          put_4((lanes4)SHUFFLE(a[h], z[h], 4, 12, 5, 13, 6, 14, 7, 15) ^ flip, panel + 4 * j + 32 * h + 16, sums + j + 8 * h + 4);
        }
      }
    for (; j < columns; j++) {
      uint32_t group = 0;
      for (size_t r = 0; r < count; r++) group |= ((from[r][j * ns] ^ flip) & 0xFF) << 8 * r;
      put_1(group, panel + 4 * j, sums + j);
    }
  }
}

/// Rows [begin, end) of every tap of a panel, column by column, for groups that lie within a tap.
static void pack_columns(const apus_qgemm_b *source, const uint8_t *b, size_t columns, size_t nr, size_t begin, size_t end,
                         uint32_t flip, int8_t *panel, int32_t *sums) {
  const size_t ns = source->n_stride, ks = source->k_stride;
  for (size_t j = 0; j < columns; j += 4) {
    const size_t width = columns - j < 4 ? columns - j : 4;
    for (size_t t = 0; t < source->taps; t++) {
      const uint8_t *from = b + j * ns + t * source->tap_stride;
      int8_t *to = panel + t * source->k * nr + 4 * j;
      size_t i = begin;
      if (ks == 1 && width == 4)
        for (; end - i >= 16; i += 16) {
          lanes4 r[4], s[4];
          for (size_t c = 0; c < 4; c++) memcpy(&r[c], from + c * ns + i, sizeof r[c]);
          s[0] = SHUFFLE(r[0], r[1], 0, 4, 1, 5), s[1] = SHUFFLE(r[0], r[1], 2, 6, 3, 7);
          s[2] = SHUFFLE(r[2], r[3], 0, 4, 1, 5), s[3] = SHUFFLE(r[2], r[3], 2, 6, 3, 7);
          put_4(SHUFFLE(s[0], s[2], 0, 1, 4, 5) ^ flip, to + i * nr, sums + j);
          put_4(SHUFFLE(s[0], s[2], 2, 3, 6, 7) ^ flip, to + (i + 4) * nr, sums + j);
          put_4(SHUFFLE(s[1], s[3], 0, 1, 4, 5) ^ flip, to + (i + 8) * nr, sums + j);
          put_4(SHUFFLE(s[1], s[3], 2, 3, 6, 7) ^ flip, to + (i + 12) * nr, sums + j);
        }
      for (; i < end; i += 4) {
        const uint8_t *first = from + i * ks;
        if (width == 4 && end - i >= 4) {
          const lanes4 groups = {group_of(first, ks, 4, flip), group_of(first + ns, ks, 4, flip),
                                 group_of(first + 2 * ns, ks, 4, flip), group_of(first + 3 * ns, ks, 4, flip)};
          put_4(groups, to + i * nr, sums + j);
        } else {
          for (size_t c = 0; c < width; c++) put_1(group_of(first + c * ns, ks, end - i, flip), to + i * nr + 4 * c, sums + j + c);
        }
      }
    }
  }
}

// Every B becomes s8, so that one instruction serves: a u8 is lowered by 128, as its zero point is when it is used.
void apus_qgemm_pack_b(const apus_qgemm_kernel *kernel, const apus_qgemm_b *source, void *packed, size_t panel_begin,
                       size_t panel_end) {
  const size_t nr = kernel->nr, k = source->k, depth = apus_qgemm_depth(source->taps, k);
  const size_t size = apus_qgemm_panel_size(nr, depth);
  const uint32_t flip = source->is_signed ? 0 : 0x80808080;
  for (size_t p = panel_begin; p < panel_end; p++) {
    int8_t *panel = (int8_t *)packed + p * size;
    int32_t *sums = (int32_t *)(void *)(panel + nr * depth);
    const size_t left = source->n - p * nr, columns = left < nr ? left : nr;
    const uint8_t *b = (const uint8_t *)source->b + p * nr * source->n_stride;
    // Groups that are not full write their zeros themselves; columns that are missing have nobody who would.
    if (columns < nr)
      memset(panel, 0, size);
    else
      memset(sums, 0, nr * sizeof *sums);
    if (source->n_stride == 1 || (source->taps > 1 && k % 4 != 0)) {
      pack_rows(source, b, columns, nr, flip, panel, sums);
    } else {
      // Pieces: the lines of the source that several taps share stay in L1 between them.
      for (size_t i = 0; i < k; i += 64)
        pack_columns(source, b, columns, nr, i, k - i < 64 ? k : i + 64, flip, panel, sums);
    }
  }
}
