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

void apus_qgemm_run(const apus_qgemm_kernel *kernel, const apus_qgemm_args *args, size_t m_begin, size_t m_end,
                    size_t n_begin, size_t n_end, void *workspace) {
  if (m_begin < m_end && n_begin < n_end) kernel->ops->run(args, m_begin, m_end, n_begin, n_end, workspace);
}
