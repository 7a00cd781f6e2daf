// 3×3 convolutions of 8-bit integers, requantised: microseconds of the direct sum and by Winograd's transforms, whose bits must be
// the same, on every level of this CPU with one core.
//
//     make && ./build/qwinograd_bench [squares at a time]
#include <math.h>

#include "measure.h"

typedef struct shape {
  size_t size, k, n;
} shape;

static const shape shapes[] = {{56, 64, 64}, {28, 128, 128}, {14, 256, 256}, {7, 512, 512}, {112, 32, 64}, {16, 32, 32}};

static const int repeats = 20;

static void *zeroed(size_t bytes) {
  const size_t whole = bytes / 64 * 64 + 64;
  void *p = aligned_alloc(64, whole);
  if (!p) abort();
  return memset(p, 0, whole);
}

/// One image, padded by 1; `bits` tells whether both ways gave the same.
static void convolve(const shape *s, const apus_qwinograd_kernel *kernel, size_t most, double times[2], int *bits) {
  const apus_qgemm_kernel *product = kernel->product;
  const size_t pixels = s->size * s->size, k = s->k, n = s->n, panels = apus_qgemm_panels(product, n);
  uint8_t *input = zeroed(pixels * k), *padding = zeroed(k), *outputs[2] = {zeroed(pixels * n), zeroed(pixels * n)};
  int8_t *weights = zeroed(9 * k * n);
  ptrdiff_t *entries = zeroed(pixels * 9 * sizeof *entries);
  for (size_t i = 0; i < pixels * k; i++) input[i] = (uint8_t)rand();
  for (size_t i = 0; i < 9 * k * n; i++) weights[i] = (int8_t)(rand() % 65 - 32);
  memset(padding, 7, k);
  for (size_t i = 0; i < pixels * 9; i++) {
    const size_t y = i / 9 / s->size + i % 9 / 3 - 1, x = i / 9 % s->size + i % 3 - 1;
    entries[i] = y < s->size && x < s->size ? (ptrdiff_t)((y * s->size + x) * k) : APUS_PADDING_TAP;
  }
  const apus_qgemm_b source = {weights, true, 9, k, n, 1, 9, 9 * k};
  void *packed = zeroed(apus_qgemm_packed_size(product, 9, k, n)), *workspace = zeroed(apus_qgemm_workspace_size(product, 9, k));
  apus_qgemm_pack_b(product, &source, packed, 0, panels);
  apus_qgemm_args args = {.m = pixels, .n = n, .k = k, .taps = 9, .a = input, .a_k_stride = 1, .a_table = entries, .a_padding = padding,
                          .a_zero_point = 7, .b = packed, .b_is_signed = true, .output = APUS_QGEMM_Q8, .c_stride = n, .scale = 1e-4f,
                          .zero_point = 100, .low = 0, .high = 255};
  const apus_qwinograd_image image = {s->size, s->size, s->size, s->size, 1, 1};
  const size_t squares = apus_qwinograd_squares(&image), blocks = (squares + most - 1) / most, block = (squares + blocks - 1) / blocks;
  const size_t stride = block * apus_qwinograd_row(k) + 32;
  int16_t *v = zeroed(36 * stride * sizeof *v);
  void *own = zeroed(apus_qwinograd_workspace_size(kernel, k, block));
  times[0] = times[1] = 1e9;
  for (int i = 0; i < repeats; i++) {
    double begin = now();
    args.c = outputs[0];
    apus_qgemm_run(product, &args, 0, pixels, 0, n, workspace);
    times[0] = fmin(times[0], now() - begin);
    begin = now();
    args.c = outputs[1];
    for (size_t first = 0; first < squares; first += block) {
      const size_t end = first + block < squares ? first + block : squares;
      apus_qwinograd_input(kernel, &image, &args, first, end, v, stride);
      apus_qwinograd_run(kernel, &image, &args, v, stride, first, end, 0, panels, own);
    }
    times[1] = fmin(times[1], now() - begin);
  }
  *bits = !memcmp(outputs[0], outputs[1], pixels * n);
  void *const all[] = {input, padding, outputs[0], outputs[1], weights, entries, packed, workspace, v, own};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

int main(int argc, char **argv) {
  const int asked = argc > 1 ? atoi(argv[1]) : 0;
  const apus_qwinograd_kernel *kernel;
  for (size_t index = 0; (kernel = apus_qwinograd_at(index)) != NULL; index++) {
    if (!((apus_cpu_levels() >> kernel->isa) & 1)) continue;
    printf("%s\n", kernel->name);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      double times[2];
      int bits;
      convolve(&shapes[i], kernel, asked > 0 ? (size_t)asked : 49, times, &bits);
      printf("%4zu x %-4zu %4zu -> %-4zu direct %8.1f us  transforms %8.1f us  %.2f%s\n", shapes[i].size, shapes[i].size, shapes[i].k,
             shapes[i].n, times[0] * 1e6, times[1] * 1e6, times[1] / times[0], bits ? "" : "  RESULTS DIFFER");
    }
  }
  return 0;
}
