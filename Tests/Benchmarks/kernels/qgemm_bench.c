// The 8-bit integer product, every kernel of this CPU, requantised output: GOP/s per shape on one core.
//
//     build/qgemm_bench
//
// The peak of 512-bit VNNI on Zen 4 is four times the f32 peak printed last.
#include "measure.h"

int main(void) {
  static const size_t shapes[][3] = {{1, 1024, 1024},  {16, 768, 768},  {128, 768, 768},   {128, 3072, 768},
                                     {128, 768, 3072}, {3136, 64, 64},  {3136, 64, 576},   {784, 128, 1152},
                                     {196, 256, 2304}, {49, 512, 4608}, {512, 1024, 1024}, {128, 50257, 768}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
    uint8_t *a = malloc(m * k), *b = malloc(n * k), *c = malloc(m * n);
    if (!a || !b || !c) return 1;
    for (size_t i = 0; i < m * k; i++) a[i] = (uint8_t)rand();
    for (size_t i = 0; i < n * k; i++) b[i] = (uint8_t)rand();
    printf("%5zu x%5zu x%5zu", m, n, k);
    const apus_qgemm_kernel *kernel;
    for (size_t index = 0; (kernel = apus_qgemm_at(index)) != NULL; index++) {
      if (!((apus_cpu_levels() >> kernel->isa) & 1)) continue;
      const size_t packed_size = (apus_qgemm_packed_size(kernel, 1, k, n) + 63) / 64 * 64;
      void *packed = aligned_alloc(64, packed_size);
      void *workspace = aligned_alloc(64, (apus_qgemm_workspace_size(kernel, 1, k) + 63) / 64 * 64);
      if (!packed || !workspace) return 1;
      const apus_qgemm_b source = {.b = b, .is_signed = true, .taps = 1, .k = k, .n = n, .k_stride = n, .n_stride = 1};
      apus_qgemm_pack_b(kernel, &source, packed, 0, apus_qgemm_panels(kernel, n));
      const apus_qgemm_args args = {.m = m, .n = n, .k = k, .taps = 1, .a = a, .a_row_stride = k, .a_k_stride = 1,
                                    .a_zero_point = 3, .b = packed, .b_is_signed = true, .output = APUS_QGEMM_Q8,
                                    .c = c, .c_stride = n, .scale = 1e-3f, .zero_point = 3, .low = 0, .high = 255};
      const double operations = 2.0 * (double)m * (double)n * (double)k;
      const int runs = kernel->isa == APUS_ISA_GENERIC ? 1 : 1 + (int)(2e8 / operations);
      double best = 1e9;
      for (int repeat = 0; repeat < (kernel->isa == APUS_ISA_GENERIC ? 1 : 5); repeat++) {
        const double start = now();
        for (int r = 0; r < runs; r++) apus_qgemm_run(kernel, &args, 0, m, 0, n, workspace);
        const double time = (now() - start) / runs;
        if (time < best) best = time;
      }
      printf("  %s %.0f", kernel->name, operations / best * 1e-9);
      free(packed);
      free(workspace);
    }
    printf("\n");
    free(a), free(b), free(c);
  }
  printf("f32 peak %.0f GFLOP/s\n", measure_peak());
  return 0;
}
