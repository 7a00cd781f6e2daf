#include <string.h>

#include "../cpu/table.h"
#include "qgemm_ops.h"

#define KERNELS(LEVEL) extern const apus_qgemm_kernel apus_qgemm_##LEVEL;
#include "qgemm.def"
#undef KERNELS

static const apus_qgemm_kernel *const table[] = {
#define KERNELS(LEVEL) &apus_qgemm_##LEVEL,
#include "qgemm.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_qgemm_kernel, apus_qgemm, table)

size_t apus_qgemm_panels(const apus_qgemm_kernel *kernel, size_t n) { return n / kernel->nr + (n % kernel->nr != 0); }

size_t apus_qgemm_packed_size(const apus_qgemm_kernel *kernel, size_t taps, size_t k, size_t n) {
  return apus_qgemm_panels(kernel, n) * apus_qgemm_panel_size(kernel->nr, apus_qgemm_depth(taps, k));
}

size_t apus_qgemm_workspace_size(const apus_qgemm_kernel *kernel, size_t taps, size_t k) {
  return apus_qgemm_pointers_size(kernel->mr, taps) + (kernel->mr * apus_qgemm_depth(taps, k) * kernel->ops->a_element + 63) / 64 * 64;
}

// Every B becomes s8, so that one instruction serves: a u8 is lowered by 128, as its zero point is when it is used.
void apus_qgemm_pack_b(const apus_qgemm_kernel *kernel, const apus_qgemm_b *source, void *packed, size_t panel_begin,
                       size_t panel_end) {
  const size_t nr = kernel->nr, depth = apus_qgemm_depth(source->taps, source->k);
  const size_t size = apus_qgemm_panel_size(nr, depth);
  const uint8_t flip = source->is_signed ? 0 : 0x80;
  for (size_t p = panel_begin; p < panel_end; p++) {
    int8_t *panel = (int8_t *)packed + p * size;
    int32_t *sums = (int32_t *)(void *)(panel + nr * depth);
    memset(panel, 0, size);
    const size_t columns = source->n - p * nr < nr ? source->n - p * nr : nr;
    const uint8_t *b = (const uint8_t *)source->b + p * nr * source->n_stride;
    size_t row = 0;
    for (size_t t = 0; t < source->taps; t++) {
      for (size_t i = 0; i < source->k; i++, row++) {
        const uint8_t *from = b + t * source->tap_stride + i * source->k_stride;
        int8_t *to = panel + row / 4 * 4 * nr + row % 4;
        for (size_t j = 0; j < columns; j++) {
          const int8_t value = (int8_t)(from[j * source->n_stride] ^ flip);
          to[4 * j] = value;
          sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)(int32_t)value);
        }
      }
    }
  }
}

void apus_qgemm_run(const apus_qgemm_kernel *kernel, const apus_qgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace) {
  if (m_begin < m_end && n_begin < n_end) kernel->ops->run(args, m_begin, m_end, n_begin, n_end, workspace);
}
