// Functions of elements and of rows in f32: elementary functions within their bounds, the rest as the generic level has it.
#include <math.h>

#include "harness.h"

// MARK: Elementary functions

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double bounded(double x, double low, double high) { return isnan(x) ? x : x < low ? low : x > high ? high : x; }
static double reciprocal(double x) { return 1 / x; }
static double negative(double x) { return -x; }
static double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
static double relu(double x) { return x < 0 ? 0 : x; }
static double leaky_relu(double x) { return x < 0 ? (double)0.3f * x : x; }
static double elu(double x) { return x < 0 ? 1.5 * expm1(x) : x; }
static double selu(double x) { return 1.125 * (x < 0 ? 1.75 * expm1(x) : x); }
static double celu(double x) { return x < 0 ? 2 * expm1(x / 2) : x; }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double softsign(double x) { return x / (1 + fabs(x)); }
static double hard_sigmoid(double x) { return bounded(0.25 * x + 0.5, 0, 1); }
static double hard_swish(double x) { return x * bounded(x / 6 + 0.5, 0, 1); }
static double silu(double x) { return x * sigmoid(x); }
static double gelu_erf(double x) { return 0.5 * x * (1 + erf(x * sqrt(0.5))); }
static double gelu_tanh(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))); }
static double mish(double x) { return x * tanh(x > 30 ? x : log1p(exp(x))); }
static double clip(double x) { return bounded(x, -1, 2.5); }
static double thresholded_relu(double x) { return x > 1 ? x : 0; }
static double power_of_half(double x) { return pow(x, 0.5); }
static double square(double x) { return x * x; }
static double cube(double x) { return x * x * x; }
static double power_of_minus_three(double x) { return pow(x, -3); }
static double linear(double x) { return 2 * x - 1; }

/// The bounds of the kernels' tests in Swift: units in the last place, or, where `relative`, a fraction of |x|.
static const struct {
  apus_unary_op op;
  float params[2];
  double tolerance;
  bool relative;
  double (*value)(double);
} references[] = {
    {APUS_UNARY_EXP, {0}, 1.1, false, exp},
    {APUS_UNARY_LOG, {0}, 1, false, log},
    {APUS_UNARY_TANH, {0}, 2.5, false, tanh},
    {APUS_UNARY_SIGMOID, {0}, 2.5, false, sigmoid},
    {APUS_UNARY_ERF, {0}, 1.5, false, erf},
    {APUS_UNARY_SQRT, {0}, 0.5, false, sqrt},
    {APUS_UNARY_RECIPROCAL, {0}, 0.5, false, reciprocal},
    {APUS_UNARY_NEG, {0}, 0, false, negative},
    {APUS_UNARY_ABS, {0}, 0, false, fabs},
    {APUS_UNARY_SIGN, {0}, 0, false, sign_of},
    {APUS_UNARY_FLOOR, {0}, 0, false, floor},
    {APUS_UNARY_CEIL, {0}, 0, false, ceil},
    {APUS_UNARY_ROUND, {0}, 0, false, rint},
    {APUS_UNARY_RELU, {0}, 0, false, relu},
    {APUS_UNARY_LEAKY_RELU, {0.3f}, 0.5, false, leaky_relu},
    {APUS_UNARY_ELU, {1.5f}, 2.5, false, elu},
    {APUS_UNARY_SELU, {1.75f, 1.125f}, 3, false, selu},
    {APUS_UNARY_CELU, {2}, 2.5, false, celu},
    {APUS_UNARY_SOFTPLUS, {0}, 2, false, softplus},
    {APUS_UNARY_SOFTSIGN, {0}, 1.5, false, softsign},
    {APUS_UNARY_HARD_SIGMOID, {0.25f, 0.5f}, 1, false, hard_sigmoid},
    {APUS_UNARY_HARD_SWISH, {0}, 0x1p-23, true, hard_swish},
    {APUS_UNARY_SILU, {1}, 0x1p-22, true, silu},
    {APUS_UNARY_GELU_ERF, {0}, 0x1p-23, true, gelu_erf},
    {APUS_UNARY_GELU_TANH, {0}, 0x1p-22, true, gelu_tanh},
    {APUS_UNARY_MISH, {0}, 0x1p-21, true, mish},
    {APUS_UNARY_SIN, {0}, 0.51, false, sin},
    {APUS_UNARY_COS, {0}, 0.51, false, cos},
    {APUS_UNARY_CLIP, {-1, 2.5f}, 0, false, clip},
    {APUS_UNARY_THRESHOLDED_RELU, {1}, 0, false, thresholded_relu},
    {APUS_UNARY_POW, {0.5f}, 0.51, false, power_of_half},
    {APUS_UNARY_POW, {2}, 0.51, false, square},
    {APUS_UNARY_POW, {3}, 1.5, false, cube},
    {APUS_UNARY_POW, {-3}, 0.51, false, power_of_minus_three},
    {APUS_UNARY_LINEAR, {2, -1}, 0.5, false, linear},
};

/// The error in units of the last place of a float near `want`.
static double ulps(float got, double want) {
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
  const float rounded = (float)want;
  if (got == rounded) return 0;
  if (isinf(rounded) || isinf(got)) {
    // The neighbour of an overflow counts as one.
    const float finite = isinf(got) ? rounded : got;
    return fabsf(finite) == 0x1.fffffep127f && signbit(got) == signbit(rounded) ? 1 : INFINITY;
  }
  const float size = fabsf(rounded), unit = nextafterf(size, INFINITY) - size;
  return fabs((double)got - want) / (isinf(unit) ? 0x1p104 : (double)unit);
}

enum { SAMPLES = 3000, LONGEST = 40 };

static void check_unary(const apus_elementwise_kernels *kernel, size_t which) {
  const apus_unary_fn function = apus_elementwise_unary(kernel, references[which].op);
  float *x = guarded_floats(SAMPLES, AT_END, -12.0f, 12.0f), *y = guarded(SAMPLES * sizeof *y, AT_END);
  for (size_t i = 0; i < SAMPLES / 2; i++) {
    const uint32_t bits = (uint32_t)random_bits();
    memcpy(&x[i], &bits, sizeof bits);
  }
  for (size_t i = 0; i < special_float_count; i++) x[i] = special_floats[i];
  function(SAMPLES, x, y, references[which].params);
  for (size_t i = 0; i < SAMPLES; i++) {
    const double want = references[which].value(x[i]);
    // A fraction of |x| says nothing where the result is not finite.
    const bool relative = references[which].relative && isfinite(want) && isfinite(x[i]);
    const double error = relative ? fabs(y[i] - want) / fmax(fabsf(x[i]), 1e-37) : ulps(y[i], want);
    if (!(error <= references[which].tolerance)) fail("of %.9g is %.9g, not %.9g", x[i], y[i], want);
  }
  // Every length, at both edges of the memory, apart and in place, gives what one long array gives.
  for (size_t n = 0; n <= LONGEST; n++) {
    const edge where = n & 1 ? AT_END : AT_START;
    float *in = guarded_copy(x + SAMPLES - n, n * sizeof *x, where), *out = guarded(n * sizeof *out, where);
    function(n, in, out, references[which].params);
    expect_same(out, y + SAMPLES - n, n, sizeof *out, "apart");
    apus_elementwise_row(kernel, references[which].op)(in, n, references[which].params);
    expect_same(in, y + SAMPLES - n, n, sizeof *in, "in place");
  }
}

static double binary_value(apus_binary_op op, double a, double b) {
  switch (op) {
  case APUS_BINARY_ADD: return a + b;
  case APUS_BINARY_SUB: return a - b;
  case APUS_BINARY_MUL: return a * b;
  case APUS_BINARY_DIV: return a / b;
  case APUS_BINARY_MIN: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
  case APUS_BINARY_MAX: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
  case APUS_BINARY_POW: return pow(a, b);
  default: return a < 0 ? a * b : a;
  }
}

static void check_binary(const apus_elementwise_kernels *kernel, apus_binary_op op) {
  for (size_t n = 0; n <= LONGEST; n++) {
    for (unsigned form = 0; form < APUS_BINARY_FORM_COUNT; form++) {
      const edge where = coin() ? AT_END : AT_START;
      const size_t a_count = form == APUS_SCALAR_VECTOR && n ? 1 : n, b_count = form == APUS_VECTOR_SCALAR && n ? 1 : n;
      float *a = guarded_floats(a_count, where, -8.0f, 8.0f), *b = guarded_floats(b_count, where, -8.0f, 8.0f);
      for (size_t i = 0; i < a_count; i++)
        if (below(4) == 0) a[i] = special_floats[below(special_float_count)];
      for (size_t i = 0; i < b_count; i++)
        if (below(4) == 0) b[i] = special_floats[below(special_float_count)];
      float *y = guarded(n * sizeof *y, where);
      apus_elementwise_binary(kernel, op, (apus_binary_form)form)(n, a, b, y);
      for (size_t i = 0; i < n; i++) {
        const float left = a[a_count == n ? i : 0], right = b[b_count == n ? i : 0];
        const double want = binary_value(op, left, right);
        if (!(ulps(y[i], want) <= 0.51)) fail("of %.9g and %.9g is %.9g, not %.9g", left, right, y[i], want);
      }
    }
  }
}

/// Integers, choices and affine rows, against the generic level.
static void check_others(const apus_elementwise_kernels *kernel) {
  const apus_elementwise_kernels *generic = apus_elementwise_select(0);
  for (size_t n = 0; n <= 70; n++) {
    const edge where = n & 1 ? AT_END : AT_START;
    for (size_t bytes = 4; bytes <= 8; bytes += 4) {
      const void *a = guarded_bytes((n ? n : 1) * bytes, where), *b = guarded_bytes((n ? n : 1) * bytes, where);
      void *want = guarded(n * bytes, where), *got = guarded(n * bytes, where);
      for (unsigned op = 0; op < APUS_INTEGER_COUNT; op++) {
        for (unsigned form = 0; form < APUS_BINARY_FORM_COUNT; form++) {
          apus_elementwise_integer(generic, (apus_integer_op)op, (apus_binary_form)form, bytes)(n, a, b, want);
          apus_elementwise_integer(kernel, (apus_integer_op)op, (apus_binary_form)form, bytes)(n, a, b, got);
          expect_same(got, want, n, bytes, "integers");
        }
      }
    }
    uint8_t *condition = guarded_bytes(n, where);
    for (size_t i = 0; i < n; i++) condition[i] &= coin() ? 0xff : 0;
    for (size_t bytes = 1; bytes <= 8; bytes *= 2) {
      const void *a = guarded_bytes((n ? n : 1) * bytes, where), *b = guarded_bytes((n ? n : 1) * bytes, where);
      void *want = guarded(n * bytes, where), *got = guarded(n * bytes, where);
      for (size_t steps = 0; steps < 4; steps++) {
        apus_elementwise_blend(generic, bytes)(n, condition, a, steps & 1, b, steps >> 1, want);
        apus_elementwise_blend(kernel, bytes)(n, condition, a, steps & 1, b, steps >> 1, got);
        expect_same(got, want, n, bytes, "choice");
      }
    }
    const size_t rows = 3, stride = n + 1;
    const float *x = guarded_floats(2 * stride + n, where, -1.0f, 1.0f), *scale = guarded_floats(n, where, -1.0f, 1.0f);
    const float *shift = coin() ? guarded_floats(n, where, -1.0f, 1.0f) : NULL;
    float *want = guarded_floats(2 * stride + n, where, 0.0f, 0.0f), *got = guarded_floats(2 * stride + n, where, 0.0f, 0.0f);
    generic->scale_shift(rows, n, x, stride, scale, shift, want, stride);
    kernel->scale_shift(rows, n, x, stride, scale, shift, got, stride);
    expect_near(got, want, 2 * stride + n, 2e-7, "affine");
  }
}

void test_elementwise(void) {
  FOR_EACH_LEVEL(apus_elementwise_kernels, apus_elementwise_at) {
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
      start("elementwise", kernel->name, apus_unary_name(references[i].op));
      check_unary(kernel, i);
      finish();
    }
    for (unsigned op = 0; op < APUS_BINARY_COUNT; op++) {
      start("elementwise", kernel->name, apus_binary_name((apus_binary_op)op));
      check_binary(kernel, (apus_binary_op)op);
      finish();
    }
    start("elementwise", kernel->name, "integers, choices and affine rows");
    check_others(kernel);
    finish();
  }
}

// MARK: Softmax

static void check_softmax(const apus_softmax_kernels *kernel, size_t n) {
  const edge where = coin() ? AT_END : AT_START;
  const size_t rows = 2, stride = n + below(3), count = n ? (rows - 1) * stride + n : 0;
  apus_softmax_args args = {.rows = rows, .n = n, .x_stride = stride, .y_stride = stride, .scale = 1, .log = coin()};
  float *x = guarded_floats(count, where, -30.0f, 30.0f);
  if (n && below(4) == 0) x[below(n)] = coin() ? -INFINITY : coin() ? NAN : INFINITY;
  if (n && below(8) == 0)
    for (size_t i = 0; i < n; i++) x[i] = -INFINITY;
  args.x = x;
  if (coin()) args.scale = between(-1.0f, 1.0f);
  if (coin()) args.mask = guarded_floats(n, where, -20.0f, 0.0f);
  float *want = guarded_floats(count, where, 0.0f, 0.0f), *got = guarded_floats(count, where, 0.0f, 0.0f);
  args.y = want;
  apus_softmax_select(0)->softmax(&args);
  args.y = got;
  kernel->softmax(&args);
  expect_near(got, want, count, args.log ? 2e-5 : 1e-5, "softmax");
  args.y = x;
  kernel->softmax(&args);
  for (size_t r = 0; r < rows; r++) expect_same(x + r * stride, got + r * stride, n, sizeof *x, "in place");
}

// MARK: Normalisation

static void check_normalization(const apus_normalization_kernels *kernel, size_t n) {
  const apus_normalization_kernels *generic = apus_normalization_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const size_t rows = 3, stride = n + below(2), count = (rows - 1) * stride + n;
  apus_row_norm_args args = {.rows = rows, .n = n, .epsilon = 1e-3f};
  args.x_stride = args.y_stride = args.residual_stride = args.sum_stride = stride;
  args.x = guarded_floats(count, where, -1.0f, 3.0f);
  if (coin()) args.residual = guarded_floats(count, where, -1.0f, 1.0f);
  if (coin()) args.residual_bias = guarded_floats(n, where, -1.0f, 1.0f);
  const bool sums = coin(), statistics = coin();
  if (coin()) args.scale = guarded_floats(n, where, -1.0f, 1.0f);
  if (coin()) args.bias = guarded_floats(n, where, -1.0f, 1.0f);
  for (int rms = 0; rms < 2; rms++) {
    float *y[2], *sum[2], *mean[2], *inverse[2];
    for (int i = 0; i < 2; i++) {
      args.y = y[i] = guarded_floats(count, where, 0.0f, 0.0f);
      sum[i] = guarded_floats(count, where, 0.0f, 0.0f);
      mean[i] = guarded_floats(rows, where, 0.0f, 0.0f);
      inverse[i] = guarded_floats(rows, where, 0.0f, 0.0f);
      args.sum = sums ? sum[i] : NULL;
      args.mean = statistics ? mean[i] : NULL;
      args.inverse_deviation = statistics ? inverse[i] : NULL;
      const apus_normalization_kernels *which = i ? kernel : generic;
      (rms ? which->rms_norm : which->layer_norm)(&args);
    }
    // One element has no deviation but its rounding, of which the epsilon makes little.
    expect_near(y[1], y[0], count, 2e-5, rms ? "RMS normalisation" : "layer normalisation");
    expect_near(sum[1], sum[0], count, 1e-6, "sum");
    expect_near(mean[1], mean[0], rows, 1e-6, "mean");
    expect_near(inverse[1], inverse[0], rows, 1e-4, "inverse deviation");
  }
  const size_t groups = 1 + below(3), channels = groups * (1 + below(6)), pixels = 1 + below(9) * 17;
  const float *image = guarded_floats(channels * pixels, where, -1.0f, 3.0f);
  const float *scale = coin() ? guarded_floats(channels, where, -1.0f, 1.0f) : NULL;
  const float *bias = coin() ? guarded_floats(channels, where, -1.0f, 1.0f) : NULL;
  float *want = guarded(channels * pixels * sizeof *want, where), *got = guarded(channels * pixels * sizeof *got, where);
  generic->group_norm(channels, pixels, image, scale, bias, 1e-3f, want);
  kernel->group_norm(channels, pixels, image, scale, bias, 1e-3f, got);
  expect_near(got, want, channels * pixels, 2e-5, "group normalisation");
  float *workspace = guarded(2 * channels * sizeof *workspace, where);
  generic->group_norm_nhwc(pixels, channels, groups, image, channels, scale, bias, 1e-3f, want, channels, workspace);
  kernel->group_norm_nhwc(pixels, channels, groups, image, channels, scale, bias, 1e-3f, got, channels, workspace);
  expect_near(got, want, channels * pixels, 2e-5, "group normalisation, channels last");
}

// MARK: Reductions and products of rows

// Numbers of a type: bytes of any kind for integers, floats from -1 to 1, some of them NaN.
static void *numbers(apus_number number, size_t n, edge where) {
  static const size_t sizes[] = {4, 8, 1, 1, 4, 8};
  if (number == APUS_NUMBER_F32) {
    float *x = guarded_floats(n, where, -1.0f, 1.0f);
    if (n && below(8) == 0) x[below(n)] = NAN;
    return x;
  }
  unsigned char *bytes = guarded(n * sizes[number], where);
  for (size_t i = 0; i < n; i++) {
    if (number == APUS_NUMBER_F64) ((double *)bytes)[i] = (double)below(2001) / 1000 - 1;
    else for (size_t j = 0; j < sizes[number]; j++) bytes[i * sizes[number] + j] = (unsigned char)below(256);
  }
  return bytes;
}

static void check_reduce(const apus_reduce_kernels *kernel, size_t n) {
  const apus_reduce_kernels *generic = apus_reduce_select(0);
  for (unsigned op = 0; op < APUS_REDUCE_COUNT; op++) {
    // One type at a time: memory is freed at the end of a case.
    const apus_number number = (apus_number)below(APUS_NUMBER_COUNT);
    const apus_reduce_runs_fn runs = apus_reduce_runs(kernel, (apus_reduce_op)op, number);
    if (!runs) continue;
    const edge where = coin() ? AT_END : AT_START;
    const size_t rows = n > 1000 ? 2 : below(20), stride = n + below(3), elements = rows && n ? (rows - 1) * stride + n : 0;
    const void *x = numbers(number, elements, where);
    const bool is_float = number == APUS_NUMBER_F32 || number == APUS_NUMBER_F64;
    const bool is_sum = op != APUS_REDUCE_MAX && op != APUS_REDUCE_MIN;
    const size_t size = is_sum || number == APUS_NUMBER_F64 || number == APUS_NUMBER_I64 ? 8
                        : number == APUS_NUMBER_I8 || number == APUS_NUMBER_U8           ? 1
                                                                                         : 4;
    for (int columns = 0; columns < 2; columns++) {
      const size_t count = columns ? n : rows;
      unsigned char *want = guarded(count * size, where), *got = guarded(count * size, where);
      memset(want, 0, count * size);
      memset(got, 0, count * size);
      if (columns) {
        apus_reduce_columns(generic, (apus_reduce_op)op, number)(rows, n, x, stride, want);
        apus_reduce_columns(kernel, (apus_reduce_op)op, number)(rows, n, x, stride, got);
      } else {
        apus_reduce_runs(generic, (apus_reduce_op)op, number)(rows, n, x, stride, want);
        runs(rows, n, x, stride, got);
      }
      if (!is_float) {
        expect_same(got, want, count, size, "integers");
      } else if (size == 4) {
        expect_near((float *)got, (float *)want, count, 0, "choices");
      } else {
        float *a = guarded(count * sizeof *a, where), *b = guarded(count * sizeof *b, where);
        for (size_t i = 0; i < count; i++) a[i] = (float)((double *)got)[i], b[i] = (float)((double *)want)[i];
        expect_near(a, b, count, 2e-7 * (double)(n + rows + 2), "doubles");
      }
    }
  }
}

static void check_rowproduct(const apus_rowproduct_kernels *kernel, size_t n) {
  const apus_rowproduct_kernels *generic = apus_rowproduct_select(0);
  const edge where = coin() ? AT_END : AT_START;
  const size_t rows = below(12), stride = n + below(3);
  const float *a = guarded_floats(rows && n ? (rows - 1) * stride + n : 0, where, -1.0f, 1.0f);
  const float *x = guarded_floats(n, where, -1.0f, 1.0f), *weights = guarded_floats(rows, where, -1.0f, 1.0f);
  float *want = guarded(rows * sizeof *want, where), *got = guarded(rows * sizeof *got, where);
  generic->dot(rows, n, a, stride, x, want);
  kernel->dot(rows, n, a, stride, x, got);
  expect_near(got, want, rows, 5e-7 * (double)(n + 2), "dot");
  float *sum = guarded(n * sizeof *sum, where), *same = guarded(n * sizeof *same, where);
  generic->combine(rows, n, a, stride, weights, sum);
  kernel->combine(rows, n, a, stride, weights, same);
  expect_near(same, sum, n, 5e-7 * (double)(rows + 2), "combine");

  const size_t nr = 16, panels = (n + nr - 1) / nr, elements = panels * rows * nr;
  uint16_t *b = guarded(elements * sizeof *b, where);
  for (size_t i = 0; i < elements; i++) b[i] = (uint16_t)(below(0x3c00) | (coin() ? 0x8000u : 0));
  float *narrow = guarded(n * sizeof *narrow, where), *wide = guarded(n * sizeof *wide, where);
  apus_rowproduct_narrow_args args = {.n = n, .k = rows, .nr = nr, .k_block = 5, .x = weights, .b = b, .is_bfloat = coin(), .y = wide};
  generic->narrow(&args);
  args.y = narrow;
  kernel->narrow(&args);
  expect_near(narrow, wide, n, 5e-7 * (double)(rows + 2), "narrow");
  if (n > 1000) return;
  const size_t k = below(20);
  const double *left = numbers(APUS_NUMBER_F64, rows * k, where), *right = numbers(APUS_NUMBER_F64, k * n, where);
  double *product = guarded(rows * n * sizeof *product, where), *other = guarded(rows * n * sizeof *other, where);
  generic->doubles(rows, n, k, left, k, 1, right, n, product);
  kernel->doubles(rows, n, k, left, k, 1, right, n, other);
  float *a_float = guarded(rows * n * sizeof *a_float, where), *b_float = guarded(rows * n * sizeof *b_float, where);
  for (size_t i = 0; i < rows * n; i++) a_float[i] = (float)other[i], b_float[i] = (float)product[i];
  expect_near(a_float, b_float, rows * n, 5e-6, "doubles");
}

#define TEST_FAMILY(NAME, TYPE, LEAST)                             \
  FOR_EACH_LEVEL(TYPE, apus_##NAME##_at) {                         \
    if (kernel->isa == APUS_ISA_GENERIC) continue;                 \
    start(#NAME, kernel->name, "all lengths");                     \
    for (size_t n = LEAST; n <= 70; n++)                           \
      for (int i = 0; i < 4; i++) check_##NAME(kernel, n);         \
    check_##NAME(kernel, 300);                                     \
    check_##NAME(kernel, 20011);                                   \
    finish();                                                      \
  }

void test_rows(void) {
  TEST_FAMILY(softmax, apus_softmax_kernels, 0)
  TEST_FAMILY(normalization, apus_normalization_kernels, 1)
  TEST_FAMILY(reduce, apus_reduce_kernels, 0)
  TEST_FAMILY(rowproduct, apus_rowproduct_kernels, 0)
}
