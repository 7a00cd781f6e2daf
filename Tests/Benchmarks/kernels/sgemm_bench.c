// f32 product on one core, over large squares and the shapes of well-known networks, for every kernel that this CPU runs: GFLOP/s,
// the share of the FMA peak measured just before, and how fast packed B is read. Best of repeats; what was just used is in the caches
// where it fits. Generic is left out where there is anything better.
//
//   make && ./build/sgemm_bench [substring of a shape's name ...]
#include "measure.h"

typedef struct shape {
  const char *name;
  size_t m, n, k, height, width, window; // window 0: dense; otherwise a window x window convolution, k channels
} shape;

static const shape shapes[] = {
    // Large squares.
    {"square", 512, 512, 512, 0, 0, 0},
    {"square", 768, 768, 768, 0, 0, 0},
    {"square", 1024, 1024, 1024, 0, 0, 0},
    {"square", 1536, 1536, 1536, 0, 0, 0},
    {"square", 2048, 2048, 2048, 0, 0, 0},
    // Transformers.
    {"bert, gpt2, bart", 128, 768, 768, 0, 0, 0},
    {"bert, gpt2 qkv", 128, 2304, 768, 0, 0, 0},
    {"bert, gpt2, bart", 128, 3072, 768, 0, 0, 0},
    {"bert, gpt2, bart", 128, 768, 3072, 0, 0, 0},
    {"gpt2 head", 128, 50257, 768, 0, 0, 0},
    {"vit", 197, 768, 768, 0, 0, 0},
    {"vit qkv", 197, 2304, 768, 0, 0, 0},
    {"vit", 197, 3072, 768, 0, 0, 0},
    {"vit", 197, 768, 3072, 0, 0, 0},
    {"t5", 128, 512, 512, 0, 0, 0},
    {"t5", 128, 2048, 512, 0, 0, 0},
    {"t5", 128, 512, 2048, 0, 0, 0},
    {"attention q k'", 128, 128, 64, 0, 0, 0},
    {"attention p v", 128, 64, 128, 0, 0, 0},
    {"vit q k'", 197, 197, 64, 0, 0, 0},
    {"vit p v", 197, 64, 197, 0, 0, 0},
    // Recurrent networks: the inputs of all steps.
    {"rnn", 128, 128, 128, 0, 0, 0},
    {"gru", 128, 384, 128, 0, 0, 0},
    {"lstm", 128, 512, 128, 0, 0, 0},
    {"bilstm", 256, 1024, 256, 0, 0, 0},
    {"bilstm", 256, 1024, 512, 0, 0, 0},
    // 1x1 convolutions.
    {"resnet50 1x1", 3136, 64, 64, 0, 0, 0},
    {"resnet50 1x1", 3136, 256, 64, 0, 0, 0},
    {"resnet50 1x1", 3136, 64, 256, 0, 0, 0},
    {"resnet50 1x1", 784, 128, 512, 0, 0, 0},
    {"resnet50 1x1", 784, 512, 128, 0, 0, 0},
    {"resnet50 1x1", 196, 256, 1024, 0, 0, 0},
    {"resnet50 1x1", 196, 1024, 256, 0, 0, 0},
    {"resnet50 1x1", 49, 512, 2048, 0, 0, 0},
    {"resnet50 1x1", 49, 2048, 512, 0, 0, 0},
    {"mobilenet 1x1", 12544, 16, 32, 0, 0, 0},
    {"mobilenet 1x1", 12544, 96, 16, 0, 0, 0},
    {"mobilenet 1x1", 3136, 24, 96, 0, 0, 0},
    {"mobilenet 1x1", 3136, 144, 24, 0, 0, 0},
    {"mobilenet 1x1", 784, 32, 144, 0, 0, 0},
    {"mobilenet 1x1", 784, 192, 32, 0, 0, 0},
    {"mobilenet 1x1", 196, 64, 192, 0, 0, 0},
    {"mobilenet 1x1", 196, 384, 64, 0, 0, 0},
    {"mobilenet 1x1", 196, 96, 576, 0, 0, 0},
    {"mobilenet 1x1", 196, 576, 96, 0, 0, 0},
    {"mobilenet 1x1", 49, 160, 960, 0, 0, 0},
    {"mobilenet 1x1", 49, 960, 160, 0, 0, 0},
    {"mobilenet 1x1", 49, 1280, 320, 0, 0, 0},
    {"efficientnet 1x1", 784, 240, 40, 0, 0, 0},
    {"efficientnet 1x1", 196, 80, 480, 0, 0, 0},
    {"efficientnet 1x1", 196, 672, 112, 0, 0, 0},
    {"efficientnet 1x1", 49, 192, 1152, 0, 0, 0},
    {"googlenet 1x1", 784, 64, 192, 0, 0, 0},
    {"googlenet 1x1", 196, 160, 480, 0, 0, 0},
    {"googlenet 1x1", 49, 384, 832, 0, 0, 0},
    {"inception 1x1", 1225, 64, 288, 0, 0, 0},
    {"inception 1x1", 289, 192, 768, 0, 0, 0},
    {"inception 1x1", 64, 320, 2048, 0, 0, 0},
    // Windows, summed directly.
    {"3x3", 3136, 64, 64, 56, 56, 3},
    {"3x3", 784, 128, 128, 28, 28, 3},
    {"3x3", 196, 256, 256, 14, 14, 3},
    {"3x3", 49, 512, 512, 7, 7, 3},
    {"5x5", 784, 32, 16, 28, 28, 5},
    {"5x5", 196, 64, 24, 14, 14, 5},
    // A row or a few: limited by reading B.
    {"lstm step", 1, 512, 128, 0, 0, 0},
    {"bilstm step", 1, 1024, 256, 0, 0, 0},
    {"resnet50 fc", 1, 1000, 2048, 0, 0, 0},
    {"gpt2 step", 1, 3072, 768, 0, 0, 0},
    {"gpt2 step head", 1, 50257, 768, 0, 0, 0},
    {"vgg16 fc", 1, 4096, 25088, 0, 0, 0},
    {"vgg16 fc", 1, 4096, 4096, 0, 0, 0},
    {"4 rows", 4, 4096, 4096, 0, 0, 0},
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

typedef struct rate {
  double flops, peak, bytes; // GFLOP/s of the product and of the FMA unit right before; GB/s of packed B
} rate;

static rate measure(const shape *sh, const apus_sgemm_kernel *kernel) {
  const size_t taps = sh->window ? sh->window * sh->window : 1;
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
  const double flop = 2e-9 * (double)(sh->m * sh->n) * (double)(sh->k * taps);
  const double peak = measure_peak();
  double best;
  MEASURE(best, 0.2, apus_sgemm_run(kernel, &args, 0, sh->m, 0, sh->n, workspace));
  free(a), free(b), free(packed), free(c), free(bias), free(zero), free(table), free(workspace);
  return (rate){flop / best, peak, (double)packed_size * 4e-9 / best};
}

int main(int argc, char **argv) {
  const uint32_t found = apus_cpu_levels(), levels = found & ~(1u << APUS_ISA_GENERIC) ? found & ~(1u << APUS_ISA_GENERIC) : found;
  printf("| shape | M | N | K |");
  for (size_t i = 0; i < apus_sgemm_kernel_count(); i++)
    if (levels >> apus_sgemm_kernel_at(i)->isa & 1) printf(" %s |  %% | B GB/s |", apus_sgemm_kernel_at(i)->name);
  printf("\n| --- | --: | --: | --: |");
  for (size_t i = 0; i < apus_sgemm_kernel_count(); i++)
    if (levels >> apus_sgemm_kernel_at(i)->isa & 1) printf(" --: | --: | --: |");
  printf("\n");
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const shape *sh = &shapes[s];
    if (!wanted(sh->name, argc, argv)) continue;
    printf("| %s | %zu | %zu | ", sh->name, sh->m, sh->n);
    sh->window ? printf("%zu x %zu |", sh->window * sh->window, sh->k) : printf("%zu |", sh->k);
    for (size_t i = 0; i < apus_sgemm_kernel_count(); i++) {
      const apus_sgemm_kernel *kernel = apus_sgemm_kernel_at(i);
      if (!(levels >> kernel->isa & 1)) continue;
      const rate r = measure(sh, kernel);
      printf(" %.1f | %.0f | %.1f |", r.flops, 100 * r.flops / r.peak, r.bytes);
    }
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
