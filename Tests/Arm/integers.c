// Integer kernels: every level gives the generic one's bits, and those are the same on every architecture (the digests).
#include <math.h>

#include "harness.h"

// MARK: Products

typedef struct qgemm_problem {
  apus_qgemm_b source;
  apus_qgemm_args args;
  size_t element; ///< bytes of an element of C
} qgemm_problem;

/// `form`, by bits: 1-2 dense, strided or indirect; per-row and per-column zero points; bias; scales; see below.
static qgemm_problem make_qgemm(size_t m, size_t n, size_t k, size_t taps, bool a_signed, bool b_signed, unsigned form, edge where,
                                bool extreme) {
  const bool indirect = taps != 1 || (form & 3) == 3, strided = !indirect && (form & 3) == 2;
  const size_t pixels = 6, a_count = (indirect ? pixels : m) * k;
  uint8_t *a = guarded_bytes(a_count, where), *b = guarded_bytes(taps * k * n, where);
  if (extreme) {
    // The largest products, all of one sign: whatever saturates or wraps within shows.
    memset(a, a_signed ? 0x80 : 0xff, a_count);
    memset(b, b_signed ? 0x80 : 0xff, taps * k * n);
  }
  qgemm_problem p = {.source = {.b = b, .is_signed = b_signed, .taps = taps, .k = k, .n = n}};
  // ONNX's weights [n, k, taps] or a matrix [k, n].
  if (form & 4) p.source.tap_stride = 1, p.source.k_stride = taps, p.source.n_stride = taps * k;
  else p.source.tap_stride = k * n, p.source.k_stride = n, p.source.n_stride = 1;
  apus_qgemm_args *args = &p.args;
  *args = (apus_qgemm_args){.m = m, .n = n, .k = k, .taps = taps, .a = a, .a_is_signed = a_signed, .b_is_signed = b_signed};
  args->a_row_stride = strided ? 1 : k;
  args->a_k_stride = strided ? m : 1;
  const int32_t a_low = a_signed ? -128 : 0, b_low = b_signed ? -128 : 0;
  args->a_zero_point = a_low + (int32_t)below(256);
  args->b_zero_point = b_low + (int32_t)below(256);
  if (indirect) {
    ptrdiff_t *table = guarded(m * taps * sizeof *table, where);
    for (size_t i = 0; i < m * taps; i++) table[i] = below(4) == 0 ? APUS_PADDING_TAP : (ptrdiff_t)(below(pixels) * k);
    uint8_t *padding = guarded(k, where);
    if (k) memset(padding, (uint8_t)args->a_zero_point, k);
    args->a_table = table;
    args->a_padding = padding;
  } else if (form & 8) {
    int32_t *zeros = guarded(m * sizeof *zeros, where);
    for (size_t i = 0; i < m; i++) zeros[i] = a_low + (int32_t)below(256);
    args->a_zero_points = zeros;
  }
  if (form & 16) {
    int32_t *zeros = guarded(n * sizeof *zeros, where);
    for (size_t i = 0; i < n; i++) zeros[i] = b_low + (int32_t)below(256);
    args->b_zero_points = zeros;
  }
  if (form & 32) args->sum_bias = guarded_bytes(n * sizeof(int32_t), where);
  args->output = (apus_qgemm_output)(form >> 6 & 3);
  if (args->output == 3) args->output = APUS_QGEMM_Q8;
  const bool result_signed = form >> 8 & 1;
  args->scale = between(0.0001f, 0.01f);
  if (form & 512) args->scales = guarded_floats(n, where, 0.0001f, 0.01f);
  args->accumulate = args->output == APUS_QGEMM_S32 && (form & 1024);
  if (args->output == APUS_QGEMM_F32) {
    if (form & 1024) args->row_scale = guarded_floats(m, where, 0.5f, 2.0f);
    if (form & 2048) args->bias = guarded_floats(n, where, -4.0f, 4.0f);
  }
  args->low = result_signed ? -128 : 0;
  args->high = result_signed ? 127 : 255;
  args->zero_point = args->low + (int32_t)below(256);
  args->c_stride = n + (form >> 12 & 3);
  p.element = args->output == APUS_QGEMM_Q8 ? 1 : 4;
  return p;
}

/// C of one kernel, computed in slices, from what `before` holds.
static const void *run_qgemm(const apus_qgemm_kernel *kernel, const qgemm_problem *p, const void *before, size_t bytes, edge where,
                             size_t row_cut) {
  apus_qgemm_args args = p->args;
  const size_t panels = apus_qgemm_panels(kernel, args.n);
  void *packed = guarded(apus_qgemm_packed_size(kernel, args.taps, args.k, args.n), where);
  apus_qgemm_pack_b(kernel, &p->source, packed, panels / 2, panels);
  apus_qgemm_pack_b(kernel, &p->source, packed, 0, panels / 2);
  args.b = packed;
  args.c = guarded_copy(before, bytes, where);
  void *workspace = guarded((apus_qgemm_workspace_size(kernel, args.taps, args.k) + 3) / 4 * 4, where);
  const size_t column_cut = panels / 2 * kernel->nr;
  apus_qgemm_run(kernel, &args, 0, row_cut, 0, column_cut, workspace);
  apus_qgemm_run(kernel, &args, row_cut, args.m, 0, column_cut, workspace);
  apus_qgemm_run(kernel, &args, 0, row_cut, column_cut, args.n, workspace);
  apus_qgemm_run(kernel, &args, row_cut, args.m, column_cut, args.n, workspace);
  return args.c;
}

static void check_qgemm(const apus_qgemm_kernel *kernel, size_t m, size_t n, size_t k, size_t taps, unsigned signs, unsigned form,
                        bool extreme) {
  const edge where = coin() ? AT_END : AT_START;
  const qgemm_problem p = make_qgemm(m, n, k, taps, signs & 1, signs & 2, form, where, extreme);
  const size_t bytes = m ? ((m - 1) * p.args.c_stride + n) * p.element : 0, row_cut = below(m + 1);
  const void *before = guarded_bytes(bytes, where);
  const apus_qgemm_kernel *generic = apus_qgemm_select(0);
  const void *want = run_qgemm(generic, &p, before, bytes, where, m);
  if (kernel == generic) {
    digest("qgemm", want, bytes);
    return;
  }
  expect_same(run_qgemm(kernel, &p, before, bytes, where, row_cut), want, bytes / p.element, p.element, "product");
}

void test_qgemm(void) {
  static const size_t depths[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 23, 28, 31, 32, 33, 63, 64, 65, 100, 129, 300};
  static const size_t widths[] = {1, 3, 7, 8, 9, 16, 17, 33, 40};
  FOR_EACH_LEVEL(apus_qgemm_kernel, apus_qgemm_at) {
    for (unsigned signs = 0; signs < 4; signs++) {
      static const char *const names[] = {"u8 by u8", "s8 by u8", "u8 by s8", "s8 by s8"};
      start("qgemm", kernel->name, names[signs]);
      for (size_t i = 0; i < sizeof depths / sizeof *depths; i++)
        for (size_t m = 0; m <= 9; m++)
          for (int j = 0; j < 2; j++)
            check_qgemm(kernel, m, widths[below(sizeof widths / sizeof *widths)], depths[i], 1, signs, (unsigned)random_bits(), false);
      finish();
    }
    start("qgemm", kernel->name, "windows");
    for (size_t taps = 0; taps <= 9; taps++)
      for (size_t k = 0; k <= 20; k += 1 + k / 4)
        check_qgemm(kernel, 1 + below(19), 1 + below(35), k, taps, (unsigned)below(4), (unsigned)random_bits() | 3, false);
    finish();
    start("qgemm", kernel->name, "largest sums");
    for (unsigned signs = 0; signs < 4; signs++)
      for (unsigned output = 0; output < 3; output++)
        for (size_t k = 1; k <= 20000; k = k * 9 + 4)
          check_qgemm(kernel, 9, 17, k, 1, signs, output << 6 | (unsigned)below(64), true);
    finish();
  }
}

// MARK: Winograd's transforms

/// A convolution by the transforms, cut at `cut` squares and a panel, or by the direct sum (NULL).
static const void *run_qwinograd(const apus_qwinograd_kernel *kernel, const apus_qgemm_b *source, const apus_qwinograd_image *image,
                                 apus_qgemm_args args, size_t images, size_t bytes, edge where, size_t cut) {
  const apus_qgemm_kernel *product = kernel ? kernel->product : apus_qgemm_select(0);
  const size_t panels = apus_qgemm_panels(product, args.n);
  void *packed = guarded(apus_qgemm_packed_size(product, 9, args.k, args.n), where);
  apus_qgemm_pack_b(product, source, packed, 0, panels);
  args.b = packed;
  args.c = guarded(bytes, where);
  if (!kernel) {
    apus_qgemm_run(product, &args, 0, args.m, 0, args.n, guarded(apus_qgemm_workspace_size(product, 9, args.k), where));
    return args.c;
  }
  const size_t squares = images * apus_qwinograd_squares(image), row = apus_qwinograd_row(args.k);
  for (int part = 0; part < 2; part++) {
    const size_t begin = part ? 0 : cut, end = part ? cut : squares, stride = (end - begin) * row + below(3);
    int16_t *v = guarded((35 * stride + (end - begin) * row) * sizeof *v, where);
    apus_qwinograd_input(kernel, image, &args, begin, end, v, stride);
    void *workspace = guarded(apus_qwinograd_workspace_size(kernel, args.k, end - begin), where);
    apus_qwinograd_run(kernel, image, &args, v, stride, begin, end, panels / 2, panels, workspace);
    apus_qwinograd_run(kernel, image, &args, v, stride, begin, end, 0, panels / 2, workspace);
  }
  return args.c;
}

static void check_qwinograd(const apus_qwinograd_kernel *kernel, size_t k, size_t n) {
  const edge where = coin() ? AT_END : AT_START;
  const bool a_signed = coin(), b_signed = coin(), result_signed = coin();
  apus_qwinograd_image image = {.in_height = 1 + below(9), .in_width = 1 + below(9), .pad_top = below(3), .pad_left = below(3)};
  image.out_height = image.in_height + image.pad_top, image.out_width = image.in_width + image.pad_left;
  const size_t images = 1 + below(2), pixels = image.out_height * image.out_width;
  const apus_qgemm_b source = {.b = guarded_bytes(9 * k * n, where), .is_signed = b_signed, .taps = 9, .k = k, .n = n,
                               .tap_stride = 1, .k_stride = 9, .n_stride = 9 * k};
  apus_qgemm_args args = {.m = images * pixels, .n = n, .k = k, .taps = 9, .a_is_signed = a_signed, .b_is_signed = b_signed,
                          .a_k_stride = 1, .b_zero_point = b_signed ? 0 : 128, .c_stride = n, .scale = between(0.0001f, 0.01f)};
  args.a = guarded_bytes(images * image.in_height * image.in_width * k, where);
  args.a_zero_point = (a_signed ? -128 : 0) + (int32_t)(coin() ? below(2) * 255 : below(256));
  uint8_t *padding = guarded(k, where);
  if (k) memset(padding, (uint8_t)args.a_zero_point, k);
  args.a_padding = padding;
  ptrdiff_t *table = guarded(images * pixels * 9 * sizeof *table, where);
  for (size_t i = 0; i < images * pixels * 9; i++) {
    const size_t pixel = i / 9 % pixels, y = pixel / image.out_width + i % 9 / 3 - image.pad_top;
    const size_t x = pixel % image.out_width + i % 3 - image.pad_left, first = i / 9 / pixels * image.in_height;
    const bool inside = y < image.in_height && x < image.in_width;
    table[i] = inside ? (ptrdiff_t)(((first + y) * image.in_width + x) * k) : APUS_PADDING_TAP;
  }
  args.a_table = table;
  args.output = (apus_qgemm_output)below(3);
  if (coin()) args.sum_bias = guarded_bytes(n * sizeof(int32_t), where);
  if (coin()) args.scales = guarded_floats(n, where, 0.0001f, 0.01f);
  args.low = result_signed ? -128 : 0, args.high = result_signed ? 127 : 255;
  args.zero_point = args.low + (int32_t)below(256);
  const size_t element = args.output == APUS_QGEMM_Q8 ? 1 : 4, count = images * pixels * n;
  const void *want = run_qwinograd(NULL, &source, &image, args, images, count * element, where, 0);
  const size_t cut = below(images * apus_qwinograd_squares(&image) + 1);
  expect_same(run_qwinograd(kernel, &source, &image, args, images, count * element, where, cut), want, count, element, "convolution");
  if (kernel == apus_qwinograd_select(0)) digest("qwinograd", want, count * element);
}

void test_qwinograd(void) {
  FOR_EACH_LEVEL(apus_qwinograd_kernel, apus_qwinograd_at) {
    start("qwinograd", kernel->name, "against the direct sum");
    for (size_t k = 4; k <= 76; k += 12)
      for (int i = 0; i < 8; i++) check_qwinograd(kernel, k, 1 + below(40));
    finish();
  }
}

// MARK: Depthwise convolution

static const void *run_qdepthwise(const apus_qdepthwise_kernels *kernel, apus_qdepthwise_args args, size_t bytes, edge where) {
  args.output = guarded(bytes, where);
  const size_t cut = below(args.out_height + 1);
  kernel->run(&args, cut, args.out_height);
  kernel->run(&args, 0, cut);
  return args.output;
}

static void check_qdepthwise(const apus_qdepthwise_kernels *kernel, size_t channels, bool is_signed) {
  const edge where = coin() ? AT_END : AT_START;
  apus_qdepthwise_args args = {.channels = channels, .in_is_signed = is_signed};
  args.kernel_height = 1 + below(4), args.kernel_width = 1 + below(5);
  if (below(3) == 0) args.kernel_height = args.kernel_width = 3;
  args.stride_y = 1 + below(2), args.stride_x = 1 + below(3);
  args.dilation_y = 1 + below(2), args.dilation_x = 1 + below(2);
  args.pad_top = below(3), args.pad_left = below(3);
  args.in_height = 1 + below(7), args.in_width = 1 + below(12);
  args.out_height = (args.in_height + args.pad_top) / args.stride_y + 1;
  args.out_width = (args.in_width + args.pad_left) / args.stride_x + 1;
  args.in_pixel_stride = channels + below(3), args.in_row_stride = args.in_width * args.in_pixel_stride + below(3);
  args.out_pixel_stride = channels + below(2), args.out_row_stride = args.out_width * args.out_pixel_stride + below(2);
  args.in_zero_point = (is_signed ? -128 : 0) + (int32_t)below(256);
  const size_t taps = args.kernel_height * args.kernel_width;
  args.input = guarded_bytes((args.in_height - 1) * args.in_row_stride + (args.in_width - 1) * args.in_pixel_stride + channels, where);
  int16_t *weights = guarded(taps * channels * sizeof *weights, where);
  const bool weights_signed = coin();
  int32_t *zeros = guarded(channels * sizeof *zeros, where);
  for (size_t c = 0; c < channels; c++) zeros[c] = (weights_signed ? -128 : 0) + (int32_t)below(256);
  apus_qdepthwise_pack_weights(channels, taps, guarded_bytes(taps * channels, where), weights_signed, zeros[0], coin() ? zeros : NULL,
                               weights);
  args.weights = weights;
  if (coin()) args.sum_bias = guarded_bytes(channels * sizeof(int32_t), where);
  args.requantizes = coin();
  args.scale = between(0.0001f, 0.01f);
  if (coin()) args.scales = guarded_floats(channels, where, 0.0001f, 0.01f);
  const bool result_signed = coin();
  args.low = result_signed ? -128 : 0, args.high = result_signed ? 127 : 255;
  args.zero_point = args.low + (int32_t)below(256);
  const size_t element = args.requantizes ? 1 : 4;
  const size_t count = (args.out_height - 1) * args.out_row_stride + (args.out_width - 1) * args.out_pixel_stride + channels;
  const apus_qdepthwise_kernels *generic = apus_qdepthwise_select(0);
  const void *want = run_qdepthwise(generic, args, count * element, where);
  if (kernel == generic) digest("qdepthwise", want, count * element);
  else expect_same(run_qdepthwise(kernel, args, count * element, where), want, count, element, "convolution");
}

void test_qdepthwise(void) {
  FOR_EACH_LEVEL(apus_qdepthwise_kernels, apus_qdepthwise_at) {
    for (int is_signed = 0; is_signed < 2; is_signed++) {
      start("qdepthwise", kernel->name, is_signed ? "s8" : "u8");
      for (size_t channels = 1; channels <= 35; channels++)
        for (int i = 0; i < 8; i++) check_qdepthwise(kernel, channels, is_signed);
      finish();
    }
  }
}

// MARK: Sums, products and maxima

static void check_qelementwise(const apus_qelementwise_kernels *kernel, size_t n, bool is_signed) {
  const apus_qelementwise_kernels *generic = apus_qelementwise_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const uint8_t *a = guarded_bytes(n, where), *b = coin() ? guarded_bytes(n, where) : NULL;
  uint8_t *want = guarded(n, where), *got = guarded(n, where);

  apus_qadd_args sum = {.n = n, .is_signed = is_signed, .a = a, .b = b, .y = want};
  sum.base = between(-200.0f, 200.0f), sum.a_ratio = between(-2.0f, 2.0f), sum.b_ratio = between(-2.0f, 2.0f);
  if (below(8) == 0) sum.a_ratio = coin() ? NAN : INFINITY;
  generic->add(&sum);
  if (kernel == generic) digest("qelementwise", want, n);
  sum.y = got;
  kernel->add(&sum);
  expect_same(got, want, n, 1, "sum");

  const int32_t least = is_signed ? -128 : 0;
  apus_qmul_args product = {.n = n, .is_signed = is_signed, .a = a, .b = b, .y = want};
  product.a_zero = least + (int32_t)below(256), product.b_zero = least + (int32_t)below(256);
  product.factor = (int32_t)below(511) - 255;
  product.ratio = between(-0.02f, 0.02f), product.zero_point = (float)(least + (int32_t)below(256));
  generic->mul(&product);
  if (kernel == generic) digest("qelementwise", want, n);
  product.y = got;
  kernel->mul(&product);
  expect_same(got, want, n, 1, "product");
  // In place.
  uint8_t *both = guarded_copy(a, n, where);
  product.a = product.y = both;
  kernel->mul(&product);
  expect_same(both, want, n, 1, "product in place");
}

static void check_qmax(const apus_qelementwise_kernels *kernel, size_t channels, bool is_signed) {
  const apus_qelementwise_kernels *generic = apus_qelementwise_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const size_t pixels = 5, taps = below(10), outputs = 4;
  ptrdiff_t *table = guarded(outputs * taps * sizeof *table, where);
  for (size_t i = 0; i < outputs * taps; i++) table[i] = below(3) == 0 ? APUS_PADDING_TAP : (ptrdiff_t)(below(pixels) * channels);
  uint8_t *want = guarded(outputs * channels, where), *got = guarded(outputs * channels, where);
  apus_qmax_args args = {.taps = taps, .channels = channels, .is_signed = is_signed, .table = table, .output = want};
  args.input = guarded_bytes(pixels * channels, where);
  generic->max(&args, 0, outputs);
  if (kernel == generic) digest("qelementwise", want, outputs * channels);
  args.output = got;
  kernel->max(&args, 2, outputs);
  kernel->max(&args, 0, 2);
  expect_same(got, want, outputs * channels, 1, "maxima");
}

static void check_qsum(const apus_qelementwise_kernels *kernel, size_t channels, bool is_signed) {
  const apus_qelementwise_kernels *generic = apus_qelementwise_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const size_t pixels = below(20), stride = channels + below(3);
  apus_qsum_args args = {.pixels = pixels, .channels = channels, .is_signed = is_signed, .pixel_stride = stride};
  args.input = guarded_bytes(pixels && channels ? (pixels - 1) * stride + channels : 0, where);
  int32_t *want = guarded(channels * sizeof *want, where), *got = guarded(channels * sizeof *got, where);
  args.sums = want;
  generic->sum(&args);
  if (kernel == generic) digest("qelementwise", want, channels * sizeof *want);
  args.sums = got;
  kernel->sum(&args);
  expect_same(got, want, channels, sizeof *got, "sums");
}

void test_qelementwise(void) {
  FOR_EACH_LEVEL(apus_qelementwise_kernels, apus_qelementwise_at) {
    for (int is_signed = 0; is_signed < 2; is_signed++) {
      start("qelementwise", kernel->name, is_signed ? "s8" : "u8");
      for (size_t n = 0; n <= 70; n++) check_qelementwise(kernel, n, is_signed);
      for (size_t n = 100; n < 140; n++) check_qelementwise(kernel, n, is_signed);
      for (size_t channels = 0; channels <= 140; channels++) check_qmax(kernel, channels, is_signed);
      for (size_t channels = 0; channels <= 70; channels++) check_qsum(kernel, channels, is_signed);
      finish();
    }
  }
}

// MARK: Quantisation

static void check_quantize(const apus_quantize_kernels *kernel, size_t n) {
  const apus_quantize_kernels *generic = apus_quantize_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const bool wide = coin(), is_signed = coin(), per_element = coin();
  float *x = guarded_floats(n, where, -300.0f, 300.0f), *scales = guarded_floats(per_element ? n : 1, where, 0.01f, 3.0f);
  int32_t *zeros = guarded((per_element ? n : 1) * sizeof *zeros, where);
  apus_quantize_args args = {.n = n, .x = x, .scale = scales, .per_element = per_element};
  args.low = is_signed ? (wide ? -32768 : -128) : 0, args.high = args.low + (wide ? 65535 : 255);
  for (size_t i = 0; i < (per_element ? n : 1); i++) zeros[i] = args.low + (int32_t)below((size_t)(args.high - args.low + 1));
  if (coin()) args.zero_point = zeros;
  for (size_t i = 0; i < n; i++) {
    if (below(6) == 0) x[i] = special_floats[below(special_float_count)];
    // Halves, which are rounded to even.
    if (below(4) == 0) x[i] = ((float)below(300) - 150.5f) * scales[per_element ? i : 0];
  }
  if (n && below(6) == 0) scales[0] = special_floats[below(special_float_count)];
  const size_t element = wide ? 2 : 1;
  void *want = guarded(n * element, where), *got = guarded(n * element, where);
  args.y = want;
  (wide ? generic->quantize16 : generic->quantize8)(&args);
  if (kernel == generic) digest("quantize", want, n * element);
  args.y = got;
  (wide ? kernel->quantize16 : kernel->quantize8)(&args);
  expect_same(got, want, n, element, "quantised");
}

static void check_dequantize(const apus_quantize_kernels *kernel, size_t n) {
  const apus_quantize_kernels *generic = apus_quantize_select(0);
  static const size_t sizes[APUS_INTEGER_TYPE_COUNT] = {1, 1, 2, 2, 4};
  for (unsigned type = 0; type < APUS_INTEGER_TYPE_COUNT; type++) {
    const edge where = coin() ? AT_END : AT_START;
    const bool per_element = coin();
    float *want = guarded(n * sizeof *want, where), *got = guarded(n * sizeof *got, where);
    apus_dequantize_args args = {.n = n, .x = guarded_bytes(n * sizes[type], where), .per_element = per_element, .y = want};
    args.scale = guarded_floats(per_element ? n : 1, where, 0.0001f, 3.0f);
    if (coin()) args.zero_point = guarded_bytes((per_element ? n : 1) * sizeof(int32_t), where);
    apus_quantize_dequantizer(generic, (apus_integer_type)type)(&args);
    if (kernel == generic) digest("quantize", want, n * sizeof *want);
    args.y = got;
    apus_quantize_dequantizer(kernel, (apus_integer_type)type)(&args);
    expect_same(got, want, n, sizeof *got, "dequantised");
  }
}

static void check_requantize(const apus_quantize_kernels *kernel, size_t n) {
  const apus_quantize_kernels *generic = apus_quantize_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const bool per_element = coin(), is_signed = coin();
  apus_requantize_args args = {.n = n, .x = guarded_bytes(n * sizeof(int32_t), where), .per_element = per_element};
  if (coin()) args.bias = guarded_bytes(n * sizeof(int32_t), where);
  float *scales = guarded_floats(per_element ? n : 1, where, 0.0f, 2e-7f);
  if (below(6) == 0 && n) scales[0] = coin() ? NAN : -INFINITY;
  args.scale = scales;
  args.low = is_signed ? -128 : 0, args.high = args.low + 255, args.zero_point = args.low + (int32_t)below(256);
  uint8_t *want = guarded(n, where), *got = guarded(n, where);
  args.y = want;
  generic->requantize(&args);
  if (kernel == generic) digest("quantize", want, n);
  args.y = got;
  kernel->requantize(&args);
  expect_same(got, want, n, 1, "requantised");
}

static void check_codes(const apus_quantize_kernels *kernel, size_t n) {
  const apus_quantize_kernels *generic = apus_quantize_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const uint8_t *x = guarded_bytes(n, where), *table = guarded_bytes(256, where);
  const size_t fours = (n + 1) / 2, twos = (n + 3) / 4;
  const uint8_t *packed4 = guarded_bytes(fours, where), *packed2 = guarded_bytes(twos, where);
  uint8_t *want = guarded(n, where), *got = guarded(n, where);
#define BOTH(COUNT, NAME, ...)                              \
  do {                                                      \
    uint8_t *y = want;                                      \
    generic->NAME(__VA_ARGS__);                             \
    if (kernel == generic) digest("quantize", want, COUNT); \
    y = got;                                                \
    kernel->NAME(__VA_ARGS__);                              \
    expect_same(got, want, COUNT, 1, #NAME);                \
  } while (0)
  BOTH(n, lookup, n, x, table, y);
  BOTH(n, unpack4, n, packed4, false, y);
  BOTH(n, unpack4, n, packed4, true, y);
  BOTH(n, unpack2, n, packed2, false, y);
  BOTH(n, unpack2, n, packed2, true, y);
  BOTH(fours, pack4, n, x, y);
  BOTH(twos, pack2, n, x, y);
#undef BOTH
}

static void check_min_max(const apus_quantize_kernels *kernel, size_t n) {
  float *x = guarded_floats(n, coin() ? AT_END : AT_START, -100.0f, 100.0f), got[2], want[2] = {INFINITY, -INFINITY};
  if (n && below(4) == 0) x[below(n)] = coin() ? NAN : INFINITY;
  bool nan = false;
  for (size_t i = 0; i < n; i++) {
    nan |= isnan(x[i]);
    want[0] = fminf(want[0], x[i]);
    want[1] = fmaxf(want[1], x[i]);
  }
  if (nan) want[0] = want[1] = NAN;
  kernel->min_max(n, x, &got[0], &got[1]);
  expect_near(got, want, 2, 0, "least and largest");
}

void test_quantize(void) {
  FOR_EACH_LEVEL(apus_quantize_kernels, apus_quantize_at) {
    static const struct {
      const char *name;
      void (*check)(const apus_quantize_kernels *kernel, size_t n);
    } cases[] = {{"quantise", check_quantize}, {"dequantise", check_dequantize}, {"requantise", check_requantize},
                 {"codes", check_codes},       {"least and largest", check_min_max}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      start("quantize", kernel->name, cases[i].name);
      for (size_t n = 0; n <= 40; n++)
        for (int j = 0; j < 6; j++) cases[i].check(kernel, n);
      cases[i].check(kernel, 1000);
      finish();
    }
  }
}

// MARK: Short floats

static void check_half(const apus_half_kernels *kernel, apus_small_float format) {
  const apus_half_kernels *generic = apus_half_select(0);
  const size_t element = format <= APUS_BF16 ? 2 : 1, codes = element == 2 ? 65536 : 256, most = 20000;
  uint8_t *code = guarded(codes * element, AT_END);
  for (size_t i = 0; i < codes; i++) {
    const uint16_t two = (uint16_t)i;
    const uint8_t one = (uint8_t)i;
    memcpy(code + i * element, element == 2 ? (const void *)&two : (const void *)&one, element);
  }
  float *want = guarded(codes * sizeof *want, AT_END), *got = guarded(codes * sizeof *got, AT_START);
  apus_half_to_f32(generic, format)(codes, code, want);
  if (kernel == generic) digest("half", want, codes * sizeof *want);
  apus_half_to_f32(kernel, format)(codes, code, got);
  expect_same(got, want, codes, sizeof *got, "to f32");
  for (size_t n = 0; n < 40; n++) {
    float *some = guarded(n * sizeof *some, AT_END);
    apus_half_to_f32(kernel, format)(n, code + (codes - n) * element, some);
    expect_same(some, want + (codes - n), n, sizeof *some, "the last to f32");
  }
  // Every exponent, and the neighbourhood of every number of the format.
  float *x = guarded(most * sizeof *x, AT_END);
  for (size_t i = 0; i < most; i++) {
    uint32_t bits = (uint32_t)random_bits();
    if (coin()) {
      memcpy(&bits, &want[below(codes)], sizeof bits);
      bits += (uint32_t)below(3) - 1;
    }
    if (i < special_float_count) memcpy(&bits, &special_floats[i], sizeof bits);
    memcpy(&x[i], &bits, sizeof bits);
  }
  for (int saturate = 0; saturate < 2; saturate++) {
    uint8_t *y = guarded(most * element, AT_END), *z = guarded(most * element, AT_START);
    apus_half_from_f32(generic, format)(most, x, y, saturate);
    if (kernel == generic) digest("half", y, most * element);
    apus_half_from_f32(kernel, format)(most, x, z, saturate);
    expect_same(z, y, most, element, "from f32");
    for (size_t n = 0; n < 40; n++) {
      uint8_t *some = guarded(n * element, AT_END);
      apus_half_from_f32(kernel, format)(n, x + (most - n), some, saturate);
      expect_same(some, y + (most - n) * element, n, element, "the last from f32");
    }
  }
}

static void check_doubles(const apus_half_kernels *kernel) {
  enum { COUNT = 5001 };
  const apus_half_kernels *generic = apus_half_select(0);
  float *x = guarded_bytes(COUNT * sizeof *x, AT_END), *narrow = guarded(COUNT * sizeof *narrow, AT_END),
        *same_narrow = guarded(COUNT * sizeof *narrow, AT_END);
  for (size_t i = 0; i < special_float_count; i++) x[i] = special_floats[i];
  double *wide = guarded(COUNT * sizeof *wide, AT_END), *same_wide = guarded(COUNT * sizeof *wide, AT_END);
  generic->f32_to_f64(COUNT, x, wide);
  kernel->f32_to_f64(COUNT, x, same_wide);
  expect_same(same_wide, wide, COUNT, sizeof *wide, "f32 to f64");
  for (size_t i = 0; i < COUNT; i++) {
    // Beside the middle of two floats, and beyond their range.
    uint64_t bits;
    memcpy(&bits, &wide[i], sizeof bits);
    bits += (below(2) << 28) + below(3) - 1;
    if (below(8) == 0) bits = random_bits();
    memcpy(&wide[i], &bits, sizeof bits);
  }
  for (int odd = 0; odd < 2; odd++) {
    (odd ? generic->f64_to_f32_odd : generic->f64_to_f32)(COUNT, wide, narrow);
    if (kernel == generic) digest("half", narrow, COUNT * sizeof *narrow);
    (odd ? kernel->f64_to_f32_odd : kernel->f64_to_f32)(COUNT, wide, same_narrow);
    expect_same(same_narrow, narrow, COUNT, sizeof *narrow, odd ? "f64 to f32, to odd" : "f64 to f32");
  }
  uint8_t *code = guarded(COUNT, AT_END), *same_code = guarded(COUNT, AT_END);
  for (int way = 0; way < 6; way++) {
    generic->f32_to_e8m0(COUNT, x, code, way & 1, (apus_e8m0_rounding)(way / 2));
    if (kernel == generic) digest("half", code, COUNT);
    kernel->f32_to_e8m0(COUNT, x, same_code, way & 1, (apus_e8m0_rounding)(way / 2));
    expect_same(same_code, code, COUNT, 1, "E8M0");
  }
}

void test_half(void) {
  static const char *const formats[APUS_SMALL_FLOAT_COUNT] = {"f16",  "bf16", "e4m3fn", "e4m3fnuz", "e5m2",
                                                              "e5m2fnuz", "e8m0", "e2m3", "e3m2",   "e2m1"};
  FOR_EACH_LEVEL(apus_half_kernels, apus_half_at) {
    for (unsigned format = 0; format < APUS_SMALL_FLOAT_COUNT; format++) {
      start("half", kernel->name, formats[format]);
      check_half(kernel, (apus_small_float)format);
      finish();
    }
    start("half", kernel->name, "f64");
    check_doubles(kernel);
    finish();
  }
}
