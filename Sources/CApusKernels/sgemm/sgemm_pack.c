#include <string.h>

#include "sgemm_tile.h"

size_t apus_sgemm_panels(const apus_sgemm_kernel *kernel, size_t n) { return n / kernel->nr + (n % kernel->nr != 0); }

size_t apus_sgemm_packed_size(const apus_sgemm_kernel *kernel, size_t taps, size_t k, size_t n) {
  return apus_sgemm_panels(kernel, n) * kernel->nr * taps * k;
}

void apus_sgemm_scale_rows(const apus_sgemm_kernel *kernel, float *rows, size_t count, const float *factors, size_t columns) {
  kernel->ops->scale_rows(rows, count, factors, columns);
}

typedef float lanes4 __attribute__((vector_size(16)));

/// Four columns by four inner indices of a B whose inner index is contiguous.
static inline void transpose_4x4(const float *from, size_t from_stride, float *to, size_t to_stride) {
  lanes4 r[4], s[4];
  for (int i = 0; i < 4; i++) memcpy(&r[i], from + (size_t)i * from_stride, sizeof r[i]);
  s[0] = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  s[1] = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  s[2] = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  s[3] = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(s[0], s[2], 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(s[0], s[2], 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(s[1], s[3], 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(s[1], s[3], 2, 3, 6, 7);
  for (int i = 0; i < 4; i++) memcpy(to + (size_t)i * to_stride, &r[i], sizeof r[i]);
}

/// One panel of one tap: k rows of nr floats from `columns` columns beginning at `b`.
static void pack_panel(const apus_sgemm_b *source, const float *b, size_t columns, size_t nr, size_t k_begin, size_t k_end,
                       float *to) {
  const size_t ks = source->k_stride, ns = source->n_stride;
  if (ns == 1) {
    for (size_t i = k_begin; i < k_end; i++) {
      memcpy(to + i * nr, b + i * ks, columns * sizeof(float));
      memset(to + i * nr + columns, 0, (nr - columns) * sizeof(float));
    }
    return;
  }
  size_t j = 0;
  if (ks == 1)
    for (; j + 4 <= columns; j += 4) {
      size_t i = k_begin;
      for (; i + 4 <= k_end; i += 4) transpose_4x4(b + j * ns + i, ns, to + i * nr + j, nr);
      for (; i < k_end; i++)
        for (size_t c = j; c < j + 4; c++) to[i * nr + c] = b[c * ns + i];
    }
  for (; j < columns; j++)
    for (size_t i = k_begin; i < k_end; i++) to[i * nr + j] = b[j * ns + i * ks];
  for (; j < nr; j++)
    for (size_t i = k_begin; i < k_end; i++) to[i * nr + j] = 0;
}

void apus_sgemm_pack_b(const apus_sgemm_kernel *kernel, const apus_sgemm_b *source, float *packed, size_t panel_begin,
                       size_t panel_end) {
  const size_t nr = kernel->nr, taps = source->taps, k = source->k;
  // Inner indices in pieces: the lines of the source that several taps or columns share stay in L1 between them.
  const size_t piece = source->n_stride == 1 ? k : 16;
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    const size_t left = source->n - panel * nr;
    const size_t columns = left < nr ? left : nr;
    float *to = packed + panel * taps * k * nr;
    for (size_t i = 0; i < k; i += piece)
      for (size_t t = 0; t < taps; t++)
        pack_panel(source, source->b + panel * nr * source->n_stride + t * source->tap_stride, columns, nr, i,
                   k - i < piece ? k : i + piece, to + t * k * nr);
  }
}
