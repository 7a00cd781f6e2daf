// Convolutions: effective GFLOP/s (counting the direct sum's work) of the direct sum and of Winograd's transforms, the shares of
// the three steps, and the largest difference between the two over the largest output.
//
//   make && ./build/winograd_bench [level, as in APUS_CPU]
#include <math.h>

#include "measure.h"

typedef struct shape {
  size_t size, k, n, high, wide;
} shape;

static const shape shapes[] = {
    // VGG-16
    {224, 64, 64, 3, 3}, {112, 64, 128, 3, 3}, {112, 128, 128, 3, 3}, {56, 256, 256, 3, 3}, {28, 512, 512, 3, 3}, {14, 512, 512, 3, 3},
    // ResNet
    {56, 64, 64, 3, 3}, {28, 128, 128, 3, 3}, {14, 256, 256, 3, 3}, {7, 512, 512, 3, 3},
    {35, 96, 96, 3, 3}, {17, 192, 192, 3, 3}, {8, 384, 384, 3, 3}, {149, 32, 32, 3, 3}, {16, 32, 32, 3, 3},
    // AlexNet, Inception v3
    {27, 64, 192, 5, 5}, {35, 48, 64, 5, 5}, {17, 192, 192, 1, 7}, {17, 160, 160, 7, 1}, {17, 128, 128, 7, 1}, {8, 384, 384, 1, 3}, {8, 384, 384, 3, 1},
    // The four phases of transposed convolutions, beside each other
    {9, 256, 512, 2, 2}, {17, 128, 256, 2, 2}, {17, 64, 128, 2, 2}, {9, 128, 256, 2, 2}, {64, 64, 128, 2, 2},
};

static const int repeats = 5;
static const size_t block = 48;

/// One image, padded as much as keeps its size.
typedef struct problem {
  size_t size, k, n, high, wide, taps;
  float *input, *weights, *output, *zeros;
  void *workspace;
} problem;

static double direct(const problem *p, const apus_sgemm_kernel *kernel) {
  const size_t taps = p->taps;
  ptrdiff_t *table = malloc(p->size * p->size * taps * sizeof *table);
  if (!table) abort();
  for (size_t i = 0; i < p->size * p->size * taps; i++) {
    const size_t y = i / taps / p->size + i % taps / p->wide - (p->high - 1) / 2;
    const size_t x = i / taps % p->size + i % p->wide - (p->wide - 1) / 2;
    table[i] = y < p->size && x < p->size ? (ptrdiff_t)((y * p->size + x) * p->k) : APUS_PADDING_TAP;
  }
  float *packed = measure_floats(apus_sgemm_packed_size(kernel, taps, p->k, p->n));
  const apus_sgemm_b source = {p->weights, taps, p->k, p->n, 1, taps, taps * p->k};
  apus_sgemm_pack_b(kernel, &source, packed, 0, apus_sgemm_panels(kernel, p->n));
  const apus_sgemm_args args = {
      .m = p->size * p->size, .n = p->n, .k = p->k, .taps = taps, .a = p->input, .a_table = table, .a_zero = p->zeros, .b = packed,
      .c = p->output, .c_stride = p->n};
  double best = 1e9;
  for (int i = 0; i < repeats; i++) {
    const double begin = now();
    apus_sgemm_run(kernel, &args, 0, args.m, 0, p->n, p->workspace);
    best = fmin(best, now() - begin);
  }
  free(packed);
  free(table);
  return best;
}

/// The shortest time of the whole; `steps` gets that of input transform, products, output transform in the same run.
static double winograd(const problem *p, const apus_sgemm_kernel *product, const apus_winograd_kernel *kernel, double steps[3]) {
  const size_t positions = apus_winograd_positions(kernel), nr = product->nr, cut = (p->size + kernel->tile - 1) / kernel->tile;
  const apus_winograd_image image = {p->size, p->size, p->high > 1 ? cut : p->size, p->wide > 1 ? cut : p->size,
                                     (p->high - 1) / 2, (p->wide - 1) / 2, p->wide == 1};
  const apus_winograd_target target = {p->size, p->size, 0, 0, p->size * p->size * p->n, p->size * p->n, p->n};
  const size_t squares = image.high * image.wide, packed = apus_sgemm_packed_size(product, 1, p->k, p->n);
  float *u = measure_floats(packed * positions), *panel = measure_floats(positions * p->k * nr);
  for (size_t first = 0; first < p->n; first += nr) {
    const size_t end = first + nr < p->n ? first + nr : p->n;
    apus_winograd_weights(kernel, p->weights, p->k, first, end, panel, p->k * nr);
    for (size_t i = 0; i < positions; i++) {
      const apus_sgemm_b source = {panel + i * p->k * nr, 1, p->k, end - first, 0, end - first, 1};
      apus_sgemm_pack_b(product, &source, u + i * packed + first * p->k, 0, 1);
    }
  }
  const size_t rows = squares < block ? squares : block, v_stride = rows * p->k + 16, m_stride = rows * p->n + 16;
  float *v = measure_floats(v_stride * positions), *m = measure_floats(m_stride * positions);
  const apus_epilogue epilogue = {0};
  double best = 1e9;
  for (int i = 0; i < repeats; i++) {
    double times[3] = {0}, total = 0;
    for (size_t begin = 0; begin < squares; begin += rows) {
      const size_t end = begin + rows < squares ? begin + rows : squares;
      const double t0 = now();
      apus_winograd_input(kernel, &image, p->k, p->input, p->zeros, begin, end, v, v_stride);
      const double t1 = now();
      for (size_t q = 0; q < positions; q++) {
        const apus_sgemm_args args = {
            .m = end - begin, .n = p->n, .k = p->k, .taps = 1, .a = v + q * v_stride, .a_row_stride = p->k, .a_k_stride = 1,
            .b = u + q * packed, .c = m + q * m_stride, .c_stride = p->n};
        apus_sgemm_run(product, &args, 0, args.m, 0, p->n, p->workspace);
      }
      const double t2 = now();
      apus_winograd_output(kernel, &image, &target, p->n, m, p->n, m_stride, begin, end, p->output, &epilogue);
      const double t3 = now();
      times[0] += t1 - t0;
      times[1] += t2 - t1;
      times[2] += t3 - t2;
      total += t3 - t0;
    }
    if (total < best) {
      best = total;
      memcpy(steps, times, sizeof times);
    }
  }
  free(u);
  free(panel);
  free(v);
  free(m);
  return best;
}

int main(int count, char **words) {
  const int level = count > 1 ? apus_isa_from_name(words[1]) : APUS_ISA_AVX512VNNI;
  if (level < 0) {
    fprintf(stderr, "no level is called %s\n", words[1]);
    return 2;
  }
  const uint32_t levels = apus_cpu_levels_capped((apus_isa)level);
  const apus_sgemm_kernel *product = apus_sgemm_select(levels);
  const double peak = measure_peak();
  printf("%s, peak %.0f GFLOP/s\n", product->name, peak);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const size_t pixels = shapes[s].size * shapes[s].size, taps = shapes[s].high * shapes[s].wide;
    problem p = {shapes[s].size, shapes[s].k, shapes[s].n, shapes[s].high, shapes[s].wide, taps, measure_floats(pixels * shapes[s].k),
                 measure_floats(shapes[s].n * shapes[s].k * taps), measure_floats(pixels * shapes[s].n),
                 calloc(shapes[s].k, sizeof(float)), measure_floats(1 << 18)};
    float *reference = measure_floats(pixels * p.n);
    if (!p.zeros) abort();
    const double work = 2e-9 * (double)(taps * pixels * p.k * p.n), plain = direct(&p, product);
    memcpy(reference, p.output, pixels * p.n * sizeof(float));
    printf("%3zu x %-3zu %3zu -> %-3zu %zux%zu direct %6.3f ms %4.0f", p.size, p.size, p.k, p.n, p.high, p.wide, plain * 1e3, work / plain);
    for (size_t tile = 2; tile <= 4; tile++) {
      const size_t axes = p.high > 1 && p.wide > 1 ? 2 : 1;
      const apus_winograd_kernel *kernel = apus_winograd_select(levels, axes, p.high > 1 ? p.high : p.wide, tile);
      if (!kernel) continue;
      double steps[3] = {0}, difference = 0, largest = 0;
      const double time = winograd(&p, product, kernel, steps);
      for (size_t i = 0; i < pixels * p.n; i++) {
        difference = fmax(difference, fabs((double)p.output[i] - reference[i]));
        largest = fmax(largest, fabs((double)reference[i]));
      }
      printf("  | tile %zu %6.3f ms %4.0f (%3.0f%% of peak; %2.0f + %2.0f + %2.0f %%) %.1e", tile, time * 1e3, work / time,
             work / time / peak * 100, steps[0] / time * 100, steps[1] / time * 100, steps[2] / time * 100, difference / largest);
    }
    printf("\n");
    free(p.input);
    free(p.weights);
    free(p.output);
    free(p.zeros);
    free(p.workspace);
    free(reference);
  }
}
