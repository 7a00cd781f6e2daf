// Products, convolutions and pooling in f32: every level agrees with the generic one as far as rounding allows.
#include <math.h>

#include "harness.h"

/// What rounding may differ by, in a sum of `terms` products of numbers up to 1 in magnitude.
static double tolerance(size_t terms) { return 5e-7 * (double)(terms + 6); }

static void scale_row(float *row, size_t n, const float *params) {
  for (size_t i = 0; i < n; i++) row[i] *= params[0];
}

/// Any of the epilogues for n columns; the residual is a matrix of `rows` rows, `n` apart.
static apus_epilogue any_epilogue(size_t rows, size_t n, edge where) {
  static const float params[] = {0.75f};
  apus_epilogue e = {.activation = (apus_activation)below(7)};
  if (coin()) e.bias = guarded_floats(n, where, -1.0f, 1.0f);
  if (coin()) e.residual = guarded_floats(rows * n, where, -1.0f, 1.0f);
  e.residual_stride = n;
  e.alpha = e.activation == APUS_ACTIVATION_CLAMP ? -0.5f : e.activation == APUS_ACTIVATION_LEAKY_RELU ? 0.1f : 1.0f / 6;
  e.beta = e.activation == APUS_ACTIVATION_CLAMP ? 1.5f : 0.5f;
  e.function = scale_row;
  e.params = params;
  return e;
}

// MARK: Matrix products

static const float *run_sgemm(const apus_sgemm_kernel *kernel, const apus_sgemm_b *source, apus_sgemm_args args, const float *before,
                              size_t count, edge where, size_t row_cut) {
  const size_t panels = apus_sgemm_panels(kernel, args.n), column_cut = panels / 2 * kernel->nr;
  float *packed = guarded(apus_sgemm_packed_size(kernel, args.taps, args.k, args.n) * sizeof *packed, where);
  apus_sgemm_pack_b(kernel, source, packed, panels / 2, panels);
  apus_sgemm_pack_b(kernel, source, packed, 0, panels / 2);
  args.b = packed;
  args.c = guarded_copy(before, count * sizeof *before, where);
  void *workspace = guarded(apus_sgemm_workspace_size(kernel, &args), where);
  apus_sgemm_run(kernel, &args, 0, row_cut, 0, column_cut, workspace);
  apus_sgemm_run(kernel, &args, row_cut, args.m, 0, column_cut, workspace);
  apus_sgemm_run(kernel, &args, 0, row_cut, column_cut, args.n, workspace);
  apus_sgemm_run(kernel, &args, row_cut, args.m, column_cut, args.n, workspace);
  return args.c;
}

static void check_sgemm(const apus_sgemm_kernel *kernel, size_t m, size_t n, size_t k, size_t taps) {
  const edge where = coin() ? AT_END : AT_START;
  const bool indirect = taps != 1 || below(3) == 0, strided = !indirect && coin();
  const size_t pixels = 6;
  apus_sgemm_b source = {.b = guarded_floats(taps * k * n, where, -1.0f, 1.0f), .taps = taps, .k = k, .n = n};
  if (coin()) source.tap_stride = 1, source.k_stride = taps, source.n_stride = taps * k;
  else source.tap_stride = k * n, source.k_stride = n, source.n_stride = 1;
  apus_sgemm_args args = {.m = m, .n = n, .k = k, .taps = taps, .accumulate = below(4) == 0};
  args.a = guarded_floats((indirect ? pixels : m) * k, where, -1.0f, 1.0f);
  args.a_row_stride = strided ? 1 : k;
  args.a_k_stride = strided ? m : 1;
  if (indirect) {
    ptrdiff_t *table = guarded(m * taps * sizeof *table, where);
    for (size_t i = 0; i < m * taps; i++) table[i] = below(4) == 0 ? APUS_PADDING_TAP : (ptrdiff_t)(below(pixels) * k);
    args.a_table = table;
    args.a_zero = guarded_floats(k, where, 0.0f, 0.0f);
  }
  args.epilogue = any_epilogue(m, n, where);
  args.c_stride = n + below(3);
  const size_t count = m ? (m - 1) * args.c_stride + n : 0;
  const float *before = guarded_floats(count, where, -1.0f, 1.0f);
  const float *want = run_sgemm(apus_sgemm_select(0), &source, args, before, count, where, m);
  expect_near(run_sgemm(kernel, &source, args, before, count, where, below(m + 1)), want, count, tolerance(taps * k), "product");
}

void test_sgemm(void) {
  FOR_EACH_LEVEL(apus_sgemm_kernel, apus_sgemm_kernel_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    start("sgemm", kernel->name, "matrices");
    for (size_t n = 0; n <= 2 * kernel->nr + 1; n++)
      for (size_t m = 0; m <= kernel->mr + 1; m++) check_sgemm(kernel, m, n, below(40), 1);
    finish();
    start("sgemm", kernel->name, "windows");
    for (size_t taps = 0; taps <= 9; taps++)
      for (size_t k = 0; k <= 20; k += 1 + k / 4) check_sgemm(kernel, 1 + below(14), 1 + below(70), k, taps);
    finish();
    start("sgemm", kernel->name, "long sums");
    for (size_t k = 250; k <= 1100; k += 170)
      for (size_t m = 1; m <= 2 * kernel->mr; m += 5) check_sgemm(kernel, m, 5 * kernel->nr + 3, k, 1);
    check_sgemm(kernel, 7, 37, 30, 25);
    check_sgemm(kernel, 200, 40, 30, 1);
    finish();
  }
}

// MARK: Depthwise convolution

static const float *run_depthwise(const apus_depthwise_kernel *kernel, apus_depthwise_args args, size_t count, edge where) {
  args.output = guarded(count * sizeof *args.output, where);
  const size_t row_cut = below(args.out_height + 1), cut = args.channels / kernel->channel_tile / 2 * kernel->channel_tile;
  apus_depthwise_run(kernel, &args, 0, row_cut, 0, args.channels);
  apus_depthwise_run(kernel, &args, row_cut, args.out_height, cut, args.channels);
  apus_depthwise_run(kernel, &args, row_cut, args.out_height, 0, cut);
  return args.output;
}

static void check_depthwise(const apus_depthwise_kernel *kernel, size_t channels) {
  const edge where = coin() ? AT_END : AT_START;
  apus_depthwise_args args = {.channels = channels};
  args.kernel_height = 1 + below(4), args.kernel_width = 1 + below(5);
  args.stride_y = 1 + below(2), args.stride_x = 1 + below(3);
  args.dilation_y = 1 + below(2), args.dilation_x = 1 + below(2);
  args.pad_top = below(3), args.pad_left = below(3);
  args.in_height = 1 + below(7), args.in_width = 1 + below(30);
  args.out_height = (args.in_height + args.pad_top) / args.stride_y + 1;
  args.out_width = (args.in_width + args.pad_left) / args.stride_x + 1;
  args.in_pixel_stride = channels + below(3), args.in_row_stride = args.in_width * args.in_pixel_stride + below(3);
  args.out_pixel_stride = channels + below(2), args.out_row_stride = args.out_width * args.out_pixel_stride + below(2);
  args.input = guarded_floats((args.in_height - 1) * args.in_row_stride + (args.in_width - 1) * args.in_pixel_stride + channels,
                              where, -1.0f, 1.0f);
  const size_t taps = args.kernel_height * args.kernel_width;
  float *weights = guarded(taps * channels * sizeof *weights, where);
  apus_depthwise_pack_weights(channels, taps, guarded_floats(taps * channels, where, -1.0f, 1.0f), weights);
  args.weights = weights;
  args.epilogue = any_epilogue(args.out_height * args.out_width, channels, where);
  const size_t count = (args.out_height - 1) * args.out_row_stride + (args.out_width - 1) * args.out_pixel_stride + channels;
  const float *want = run_depthwise(apus_depthwise_select(0), args, count, where);
  expect_near(run_depthwise(kernel, args, count, where), want, count, tolerance(taps), "convolution");
}

void test_depthwise(void) {
  FOR_EACH_LEVEL(apus_depthwise_kernel, apus_depthwise_kernel_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    start("depthwise", kernel->name, "windows");
    for (size_t channels = 1; channels <= 35; channels++)
      for (int i = 0; i < 10; i++) check_depthwise(kernel, channels);
    finish();
  }
}

// MARK: Winograd's transforms

static void check_winograd(const apus_winograd_kernel *kernel, size_t channels) {
  const apus_winograd_kernel *generic = apus_winograd_select(0, kernel->axes, kernel->window, kernel->tile);
  const edge where = coin() ? AT_END : AT_START;
  const apus_winograd_image image = {1 + below(9), 1 + below(9), 1 + below(3), 1 + below(3), below(3), below(3), coin()};
  const size_t images = 1 + below(2), squares = images * image.high * image.wide, cut = below(squares + 1);
  const size_t positions = apus_winograd_positions(kernel), stride = squares * channels + below(3);
  const size_t transformed = (positions - 1) * stride + squares * channels;
  const bool is_high = kernel->axes == 2 || image.down, is_wide = kernel->axes == 2 || !image.down;
  apus_winograd_target target = {.height = is_high ? image.high * kernel->tile : image.high,
                                 .width = is_wide ? image.wide * kernel->tile : image.wide, .pixel_stride = channels};
  // Cut on either side.
  if (is_high) target.top = below(2), target.height -= target.top + below(2);
  if (is_wide) target.left = below(2), target.width -= target.left + below(2);
  target.row_stride = target.width * channels, target.image_stride = target.height * target.row_stride;
  const float *input = guarded_floats(images * image.in_height * image.in_width * channels, where, -1.0f, 1.0f);
  const float *zero = guarded_floats(channels, where, 0.0f, 0.0f);
  float *want = guarded_floats(transformed, where, 0.0f, 0.0f), *got = guarded_floats(transformed, where, 0.0f, 0.0f);
  apus_winograd_input(generic, &image, channels, input, zero, 0, squares, want, stride);
  apus_winograd_input(kernel, &image, channels, input, zero, 0, cut, got, stride);
  apus_winograd_input(kernel, &image, channels, input, zero, cut, squares, got + cut * channels, stride);
  expect_near(got, want, transformed, 1e-5, "transformed input");

  const float *m = guarded_floats(transformed, where, -1.0f, 1.0f);
  const size_t outputs = images * target.height * target.width;
  const apus_epilogue epilogue = any_epilogue(outputs, channels, where);
  float *output = guarded(outputs * channels * sizeof *output, where), *other = guarded(outputs * channels * sizeof *other, where);
  apus_winograd_output(generic, &image, &target, channels, m, channels, stride, 0, squares, output, &epilogue);
  apus_winograd_output(kernel, &image, &target, channels, m + cut * channels, channels, stride, cut, squares, other, &epilogue);
  apus_winograd_output(kernel, &image, &target, channels, m, channels, stride, 0, cut, other, &epilogue);
  expect_near(other, output, outputs * channels, 5e-5, "output");
}

void test_winograd(void) {
  FOR_EACH_LEVEL(apus_winograd_kernel, apus_winograd_kernel_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    start("winograd", kernel->name, "transforms");
    for (size_t channels = 1; channels <= 19; channels++)
      for (int i = 0; i < 6; i++) check_winograd(kernel, channels);
    finish();
  }
}

// MARK: Pooling

static void check_pooling(const apus_pooling_kernel *kernel, size_t channels) {
  const apus_pooling_kernel *generic = apus_pooling_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const size_t pixels = 7, outputs = 3, taps = below(12), stride = channels + below(2);
  float *input = guarded_floats(pixels * channels, where, -1.0f, 1.0f);
  ptrdiff_t *table = guarded(outputs * taps * sizeof *table, where);
  for (size_t i = 0; i < outputs * taps; i++) table[i] = below(3) == 0 ? APUS_PADDING_TAP : (ptrdiff_t)(below(pixels) * channels);
  if (channels && below(4) == 0) input[below(pixels * channels)] = coin() ? NAN : -INFINITY;
  const size_t count = channels ? (outputs - 1) * stride + channels : 0;
  float *want = guarded_floats(count, where, 0.0f, 0.0f), *got = guarded_floats(count, where, 0.0f, 0.0f);
  apus_pooling_args args = {.taps = taps, .channels = channels, .input = input, .table = table, .output_stride = stride};
  for (int average = 0; average < 2; average++) {
    if (coin()) args.scales = guarded_floats(outputs, where, 0.1f, 1.0f);
    args.output = want;
    (average ? generic->average : generic->max)(&args, 0, outputs);
    args.output = got;
    (average ? kernel->average : kernel->max)(&args, 1, outputs);
    (average ? kernel->average : kernel->max)(&args, 0, 1);
    expect_near(got, want, count, average ? tolerance(taps) : 0, average ? "average" : "maximum");
  }
  const size_t rows = below(150), row_stride = channels + below(3);
  const float *matrix = guarded_floats(rows && channels ? (rows - 1) * row_stride + channels : 0, where, -1.0f, 1.0f);
  float *sum = guarded(channels * sizeof *sum, where), *same = guarded(channels * sizeof *same, where);
  generic->sum_rows(rows, channels, matrix, row_stride, 0.5f, sum);
  kernel->sum_rows(rows, channels, matrix, row_stride, 0.5f, same);
  expect_near(same, sum, channels, tolerance(rows), "sum of rows");
}

void test_pooling(void) {
  FOR_EACH_LEVEL(apus_pooling_kernel, apus_pooling_kernel_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    start("pooling", kernel->name, "windows");
    for (size_t channels = 0; channels <= 40; channels++)
      for (int i = 0; i < 6; i++) check_pooling(kernel, channels);
    finish();
  }
}

// MARK: Weights of few bits

static const float *run_nbits(const apus_nbits_kernels *kernel, apus_nbits_args args, const float *rows, size_t n, edge where) {
  const size_t size = apus_nbits_arranged_size(kernel, args.bits, args.block_size, args.blocks);
  float *arranged = guarded(args.m * size * sizeof *arranged, where);
  for (size_t r = 0; r < args.m; r++)
    apus_nbits_arrange(kernel, args.bits, args.block_size, args.blocks, args.k, rows + r * args.k, arranged + r * size);
  args.a = arranged;
  args.c = guarded_floats(args.m ? (args.m - 1) * args.c_stride + n : 0, where, 0.0f, 0.0f);
  const size_t cut = below(n + 1);
  kernel->run(&args, cut, n);
  kernel->run(&args, 0, cut);
  return args.c;
}

static void check_nbits(const apus_nbits_kernels *kernel, unsigned bits, size_t block_size) {
  const edge where = coin() ? AT_END : AT_START;
  const size_t n = 1 + below(6);
  apus_nbits_args args = {.m = 1 + below(APUS_NBITS_ROWS), .k = 1 + below(5 * block_size), .bits = bits, .block_size = block_size};
  args.blocks = (args.k + block_size - 1) / block_size;
  args.codes = guarded_bytes(n * args.blocks * block_size * bits / 8, where);
  const float most = (float)(1u << bits);
  args.scales = guarded_floats(n * args.blocks, where, -1.0f / most, 1.0f / most);
  if (coin()) args.zero_points = guarded_floats(n * args.blocks, where, 0.0f, most);
  if (coin()) args.bias = guarded_floats(n, where, -1.0f, 1.0f);
  args.c_stride = n + below(3);
  const float *rows = guarded_floats(args.m * args.k, where, -1.0f, 1.0f);
  const float *want = run_nbits(apus_nbits_select(0), args, rows, n, where);
  expect_near(run_nbits(kernel, args, rows, n, where), want, (args.m - 1) * args.c_stride + n, tolerance(2 * args.k), "product");
}

void test_nbits(void) {
  FOR_EACH_LEVEL(apus_nbits_kernels, apus_nbits_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    static const char *const names[] = {"2 bits", "4 bits", "8 bits"};
    for (unsigned width = 0; width < 3; width++) {
      start("nbits", kernel->name, names[width]);
      for (size_t block_size = 16; block_size <= 256; block_size *= 2)
        for (int i = 0; i < 12; i++) check_nbits(kernel, 2u << width, block_size);
      finish();
    }
  }
}

// MARK: Both operands of few bits

static const float *run_qblocks(const apus_qblocks_kernels *kernel, const apus_qblocks_shape *shape, apus_qblocks_args args,
                                const uint8_t *codes, const float *scales, const float *zero_points, edge where) {
  const size_t panels = apus_qblocks_panels(kernel, shape->n), cut = below(panels + 1);
  void *packed = guarded(panels * apus_qblocks_panel_size(kernel, shape), AT_START);
  apus_qblocks_pack(kernel, shape, codes, scales, zero_points, packed, cut, panels);
  apus_qblocks_pack(kernel, shape, codes, scales, zero_points, packed, 0, cut);
  args.b = packed;
  args.c = guarded_floats(args.m ? (args.m - 1) * args.c_stride + shape->n : 0, where, 0.0f, 0.0f);
  kernel->run(shape, &args, cut, panels);
  kernel->run(shape, &args, 0, cut);
  return args.c;
}

static void check_qblocks(const apus_qblocks_kernels *kernel, unsigned bits, size_t block_size) {
  const apus_qblocks_kernels *generic = apus_qblocks_select(0);
  const edge where = coin() ? AT_END : AT_START;
  apus_qblocks_shape shape = {.n = 1 + below(40), .k = 1 + below(4 * block_size), .bits = bits, .block_size = block_size};
  shape.blocks = (shape.k + block_size - 1) / block_size;
  shape.has_zero_points = coin();
  const size_t m = 1 + below(9), depth = shape.blocks * block_size, scale_count = shape.n * shape.blocks;
  const float *x = guarded_floats(m * shape.k, where, -1.0f, 1.0f);
  int8_t *a[2];
  float *a_scales[2];
  int32_t *a_sums[2];
  for (int i = 0; i < 2; i++) {
    a[i] = guarded(m * depth, where);
    a_scales[i] = guarded(m * shape.blocks * sizeof(float), where);
    a_sums[i] = guarded(m * shape.blocks * sizeof(int32_t), where);
    for (size_t r = 0; r < m; r++)
      (i ? kernel : generic)->quantize(&shape, x + r * shape.k, a[i] + r * depth, a_scales[i] + r * shape.blocks, a_sums[i] + r * shape.blocks);
  }
  expect_same(a[1], a[0], m * depth, 1, "codes");
  expect_same(a_scales[1], a_scales[0], m * shape.blocks, sizeof(float), "scales");
  expect_same(a_sums[1], a_sums[0], m * shape.blocks, sizeof(int32_t), "sums of codes");
  const float most = (float)(1u << bits);
  const uint8_t *codes = guarded_bytes(scale_count * block_size * bits / 8, where);
  const float *scales = guarded_floats(scale_count, where, -1.0f / most, 1.0f / most);
  const float *zero_points = shape.has_zero_points ? guarded_floats(scale_count, where, 0.0f, most) : NULL;
  apus_qblocks_args args = {.m = m, .a = a[0], .a_scales = a_scales[0], .a_sums = a_sums[0], .c_stride = shape.n + below(3)};
  if (coin()) args.bias = guarded_floats(shape.n, where, -1.0f, 1.0f);
  const float *want = run_qblocks(generic, &shape, args, codes, scales, zero_points, where);
  const float *got = run_qblocks(kernel, &shape, args, codes, scales, zero_points, where);
  expect_near(got, want, (m - 1) * args.c_stride + shape.n, tolerance(shape.k), "product");
}

void test_qblocks(void) {
  FOR_EACH_LEVEL(apus_qblocks_kernels, apus_qblocks_at) {
    if (kernel->isa == APUS_ISA_GENERIC) continue;
    static const char *const names[] = {"2 bits", "4 bits", "8 bits"};
    for (unsigned width = 0; width < 3; width++) {
      start("qblocks", kernel->name, names[width]);
      for (size_t block_size = 16; block_size <= 128; block_size *= 2)
        for (int i = 0; i < 12; i++) check_qblocks(kernel, 2u << width, block_size);
      finish();
    }
  }
}

// MARK: Transposition

void test_transpose(void) {
  start("transpose", "baseline", "all sizes of elements");
  for (size_t element = 1; element <= 8; element *= 2) {
    for (size_t i = 0; i < 60; i++) {
      const edge where = coin() ? AT_END : AT_START;
      const size_t rows = below(40), columns = below(80), stride = columns + below(3), turned = rows + below(3);
      const size_t from_count = rows ? (rows - 1) * stride + columns : 0, to_count = columns ? (columns - 1) * turned + rows : 0;
      const uint8_t *from = guarded_bytes(from_count * element, where);
      uint8_t *got = guarded(to_count * element, where), *want = guarded(to_count * element, where);
      for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) memcpy(want + (c * turned + r) * element, from + (r * stride + c) * element, element);
      if (!apus_transpose_2d(element, rows, columns, from, stride, got, turned)) fail("elements of %zu bytes are refused", element);
      expect_same(got, want, to_count, element, "transposed");
    }
  }
  finish();
}
