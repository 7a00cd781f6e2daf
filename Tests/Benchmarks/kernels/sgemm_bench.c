// f32 product: GFLOP/s per shape and kernel, and the share of the FMA peak measured just before.
//
//   make && ./build/sgemm_bench [substring of a kernel's or shape's name ...]
#include "measure.h"

typedef struct shape {
  const char *name;
  size_t m, n, k, height, width, window; // window 0: dense; otherwise a window x window convolution, k channels
} shape;

static const shape shapes[] = {
    {"square 512", 512, 512, 512, 0, 0, 0},
    {"square 1024", 1024, 1024, 1024, 0, 0, 0},
    {"bert qkv 128", 128, 768, 768, 0, 0, 0},
    {"bert ffn1 128", 128, 3072, 768, 0, 0, 0},
    {"bert ffn2 128", 128, 768, 3072, 0, 0, 0},
    {"vit 197", 197, 768, 768, 0, 0, 0},
    {"attention q.k 128", 128, 128, 64, 0, 0, 0},
    {"attention p.v 128", 128, 64, 128, 0, 0, 0},
    {"conv1x1 56 64-256", 3136, 256, 64, 0, 0, 0},
    {"conv1x1 56 256-64", 3136, 64, 256, 0, 0, 0},
    {"conv1x1 14 256-1024", 196, 1024, 256, 0, 0, 0},
    {"conv1x1 14 1024-256", 196, 256, 1024, 0, 0, 0},
    {"conv1x1 7 2048-512", 49, 512, 2048, 0, 0, 0},
    {"conv1x1 112 32-16", 12544, 16, 32, 0, 0, 0},
    {"conv1x1 56 24-144", 3136, 144, 24, 0, 0, 0},
    {"conv1x1 14 96-576", 196, 576, 96, 0, 0, 0},
    {"conv3x3 56 64-64", 3136, 64, 64, 56, 56, 3},
    {"conv3x3 28 128-128", 784, 128, 128, 28, 28, 3},
    {"conv3x3 14 256-256", 196, 256, 256, 14, 14, 3},
    {"conv3x3 7 512-512", 49, 512, 512, 7, 7, 3},
    {"conv3x3 112 3-64", 12544, 64, 3, 112, 112, 3},
    {"conv7x7 112 3-64", 12544, 64, 3, 112, 112, 7},
    {"lstm step 256", 1, 1024, 256, 0, 0, 0},
    {"fc 1x1000", 1, 1000, 2048, 0, 0, 0},
    {"fc 1x4096", 1, 4096, 4096, 0, 0, 0},
    {"fc 1x4096x25088", 1, 4096, 25088, 0, 0, 0},
    {"fc 4x4096", 4, 4096, 4096, 0, 0, 0},
};

static ptrdiff_t *same_padded_table(size_t height, size_t width, size_t window, size_t channels) {
  ptrdiff_t *table = malloc(height * width * window * window * sizeof *table), *to = table;
  const size_t before = window / 2;
  for (size_t y = 0; y < height; y++)
    for (size_t x = 0; x < width; x++)
      for (size_t i = 0; i < window; i++)
        for (size_t j = 0; j < window; j++) {
          const size_t v = y + i - before, u = x + j - before;
          *to++ = v < height && u < width ? (ptrdiff_t)((v * width + u) * channels) : APUS_PADDING_TAP;
        }
  return table;
}

static int wanted(const char *name, int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strstr(name, argv[i])) return 1;
  return argc < 2;
}

int main(int argc, char **argv) {
  const uint32_t levels = apus_cpu_levels();
  printf("%-22s %-16s %12s %10s %8s %10s\n", "shape", "kernel", "us", "GFLOP/s", "% peak", "B GB/s");
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const shape *sh = &shapes[s];
    const size_t taps = sh->window ? sh->window * sh->window : 1;
    for (size_t i = 0; i < apus_sgemm_kernel_count(); i++) {
      const apus_sgemm_kernel *kernel = apus_sgemm_kernel_at(i);
      if (!(levels >> kernel->isa & 1)) continue;
      if (!wanted(sh->name, argc, argv) && !wanted(kernel->name, argc, argv)) continue;
      const size_t packed_size = apus_sgemm_packed_size(kernel, taps, sh->k, sh->n);
      float *a = measure_floats(sh->m * sh->k), *b = measure_floats(taps * sh->k * sh->n);
      float *packed = measure_floats(packed_size), *c = measure_floats(sh->m * sh->n);
      float *bias = measure_floats(sh->n), *zero = calloc(sh->k, sizeof *zero);
      ptrdiff_t *table = sh->window ? same_padded_table(sh->height, sh->width, sh->window, sh->k) : NULL;
      const apus_sgemm_b source = {b, taps, sh->k, sh->n, sh->k * sh->n, sh->n, 1};
      apus_sgemm_pack_b(kernel, &source, packed, 0, apus_sgemm_panels(kernel, sh->n));
      const apus_sgemm_args args = {
          .m = sh->m, .n = sh->n, .k = sh->k, .taps = taps, .a = a, .a_row_stride = sh->k, .a_k_stride = 1,
          .a_table = table, .a_zero = zero, .b = packed, .c = c, .c_stride = sh->n,
          .epilogue = {.bias = bias, .activation = APUS_ACTIVATION_RELU}};
      void *workspace = malloc(apus_sgemm_workspace_size(kernel, &args) + 64);
      const double flop = 2.0 * (double)(sh->m * sh->n) * (double)(sh->k * taps);
      const double peak = measure_peak();
      double best;
      MEASURE(best, 0.1, apus_sgemm_run(kernel, &args, 0, sh->m, 0, sh->n, workspace));
      printf("%-22s %-16s %12.1f %10.1f %8.1f %10.1f\n", sh->name, kernel->name, best * 1e6, flop / best * 1e-9,
             flop / best * 1e-7 / peak, (double)packed_size * 4e-9 / best);
      fflush(stdout);
      free(a), free(b), free(packed), free(c), free(bias), free(zero), free(table), free(workspace);
    }
  }
  return 0;
}
