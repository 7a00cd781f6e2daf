// The tile of the levels with VNNI: two vectors of columns, A read in place. The including file has included a vec_*.h and
// qgemm_codes.h, and defines MR and
//
//     DPBUSD(sum, a, b)                                    the instruction's intrinsic
//     store_codes(rows, is_narrow, left, right, codes)     where it defines STORES_CODES
#define NR (2 * VW)
#define READS_A 1
typedef uint8_t a_element;

// One group of four elements of each row.
APUS_INLINE void add_group(int rows, int is_narrow, int flips, const uint8_t *const *row, size_t at, const int8_t *b, vi *left, vi *right) {
  const vi b0 = vi_load((const int32_t *)(const void *)b);
  const vi b1 = is_narrow ? b0 : vi_load((const int32_t *)(const void *)b + VW);
  for (int r = 0; r < rows; r++) {
    int32_t four;
    memcpy(&four, row[r] + at, sizeof four);
    vi x = vi_set1(four);
    if (flips) x = vi_xor(x, vi_set1((int32_t)0x80808080));
    left[r] = DPBUSD(left[r], x, b0);
    if (!is_narrow) right[r] = DPBUSD(right[r], x, b1);
  }
}

APUS_INLINE void tile(int rows, int is_narrow, int flips, size_t taps, size_t groups, const uint8_t *const *a,
                      const int8_t *b, const int32_t *initial, int32_t *sums, const tile_codes *codes) {
  // A sum waits for the one before it: a low tile has several for each row, and they take the groups in turn.
  const int ways = rows == 1 ? 4 : rows == 2 ? 2 : 1;
  vi left[MR], right[MR];
  for (int i = 0; i < rows * ways; i++) {
    left[i] = i < rows ? vi_load(initial) : vi_set1(0);
    right[i] = i < rows && !is_narrow ? vi_load(initial + VW) : vi_set1(0);
  }
  for (size_t t = 0; t < taps; t++, a += MR) {
    const uint8_t *row[MR];
    for (int r = 0; r < rows; r++) row[r] = a[r];
    size_t g = 0;
    for (; g + (size_t)ways <= groups; g += (size_t)ways) {
      for (int way = 0; way < ways; way++, b += 4 * NR)
        add_group(rows, is_narrow, flips, row, 4 * (g + (size_t)way), b, left + way * rows, right + way * rows);
    }
    for (; ways > 1 && g < groups; g++, b += 4 * NR) add_group(rows, is_narrow, flips, row, 4 * g, b, left, right);
  }
  for (int i = rows; i < rows * ways; i++) {
    left[i % rows] = vi_add(left[i % rows], left[i]);
    if (!is_narrow) right[i % rows] = vi_add(right[i % rows], right[i]);
  }
#ifdef STORES_CODES
  if (codes) {
    store_codes(rows, is_narrow, left, right, codes);
    return;
  }
#else
  (void)codes;
#endif
  for (int r = 0; r < rows; r++) {
    vi_store(sums + r * NR, left[r]);
    if (!is_narrow) vi_store(sums + r * NR + VW, right[r]);
  }
}

#include "qgemm_body.h"
