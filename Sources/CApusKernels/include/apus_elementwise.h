// Functions applied element by element to contiguous arrays.
//
// Common to all of them: `n` counts elements and may be 0; pointers need the alignment of their element only; the
// output may be exactly one of the inputs (in place), but must not overlap one partly; nothing beyond the n elements is
// read or written; nothing is allocated and no thread started; every function may run on several threads at once.
#ifndef APUS_ELEMENTWISE_H
#define APUS_ELEMENTWISE_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_epilogue.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Functions of one f32. `p0, p1, …` are the values of `params`, in this order.
///
/// In brackets: the largest error found over every 41st float of all 2^32, against double precision, in units in the
/// last place (ulp), worst of all levels. Levels agree to about one ulp: `generic` has no fused multiply-add. Unless
/// said otherwise NaN gives NaN, infinities and denormals give what the mathematical function gives, and results too
/// large give infinity.
typedef enum apus_unary_op {
  APUS_UNARY_EXP,              ///< e^x [1.02]
  APUS_UNARY_LOG,              ///< natural logarithm; negative gives NaN, zero -infinity [0.84]
  APUS_UNARY_TANH,             ///< [2.52]
  APUS_UNARY_SIGMOID,          ///< 1 / (1 + e^-x) [2.34]
  APUS_UNARY_ERF,              ///< [1.14]
  APUS_UNARY_SQRT,             ///< exactly rounded
  APUS_UNARY_RECIPROCAL,       ///< 1 / x, exactly rounded
  APUS_UNARY_NEG,
  APUS_UNARY_ABS,
  APUS_UNARY_SIGN,             ///< -1, 0, 1; NaN stays
  APUS_UNARY_FLOOR,
  APUS_UNARY_CEIL,
  APUS_UNARY_ROUND,            ///< to nearest, ties to even
  APUS_UNARY_RELU,             ///< max(x, 0); NaN stays
  APUS_UNARY_LEAKY_RELU,       ///< x < 0 ? p0 x : x
  APUS_UNARY_ELU,              ///< x < 0 ? p0 (e^x - 1) : x [1.0 for p0 = 1]
  APUS_UNARY_SELU,             ///< p1 (x < 0 ? p0 (e^x - 1) : x);  p0 alpha, p1 gamma [2.3]
  APUS_UNARY_CELU,             ///< max(0, x) + min(0, p0 (e^(x / p0) - 1)) [1.0]
  APUS_UNARY_SOFTPLUS,         ///< log(1 + e^x) [1.63]
  APUS_UNARY_SOFTSIGN,         ///< x / (1 + |x|) [1.5]
  APUS_UNARY_HARD_SIGMOID,     ///< max(0, min(1, p0 x + p1))
  APUS_UNARY_HARD_SWISH,       ///< x max(0, min(1, x / 6 + 0.5)) [2^-23.3 |x|]
  APUS_UNARY_SILU,             ///< x sigmoid(p0 x); -infinity gives NaN (-inf * 0), as Sigmoid and Mul do [3; 52 among denormals]
  APUS_UNARY_GELU_ERF,         ///< 0.5 x (1 + erf(x / sqrt 2)), with the cancellation Erf, Add and Mul have [2^-23.0 |x|]
  APUS_UNARY_GELU_TANH,        ///< 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) [2^-22.7 |x|]
  APUS_UNARY_MISH,             ///< x tanh(log(1 + e^x)) [4; 52 among denormals]
  APUS_UNARY_SIN,              ///< reduced exactly for every argument; infinities give NaN [0.5]
  APUS_UNARY_COS,              ///< [0.5]
  APUS_UNARY_CLIP,             ///< min(max(x, p0), p1); p0 > p1 gives p1; NaN stays
  APUS_UNARY_THRESHOLDED_RELU, ///< x > p0 ? x : 0; NaN gives 0
  APUS_UNARY_POW,              ///< x^p0, as C's pow [0.501; 1.28 for p0 = 3]
  APUS_UNARY_LINEAR,           ///< p0 x + p1, the product rounded before the sum on `generic` only
  APUS_UNARY_COUNT
} apus_unary_op;

/// y[i] = f(x[i]). `params` holds apus_unary_param_count(op) floats; it may be NULL where that is 0.
typedef void (*apus_unary_fn)(size_t n, const float *x, float *y, const float *params);

/// y[i] = f(x[i]) of doubles; y may be x. Errors in units of the last place: exp [1], tanh [2.5], sqrt [0.5].
typedef void (*apus_double_fn)(size_t n, const double *x, double *y);

/// Functions of two f32.
typedef enum apus_binary_op {
  APUS_BINARY_ADD,
  APUS_BINARY_SUB,
  APUS_BINARY_MUL,
  APUS_BINARY_DIV,
  APUS_BINARY_MIN,   ///< NaN if either is
  APUS_BINARY_MAX,   ///< NaN if either is
  APUS_BINARY_POW,   ///< a^b as C's pow: 1 for b = 0 or a = 1 even where the other is NaN
  APUS_BINARY_PRELU, ///< a < 0 ? a b : a
  APUS_BINARY_COUNT
} apus_binary_op;

/// Which operands of a binary function are arrays.
typedef enum apus_binary_form {
  APUS_VECTOR_VECTOR, ///< y[i] = f(a[i], b[i])
  APUS_VECTOR_SCALAR, ///< y[i] = f(a[i], b[0])
  APUS_SCALAR_VECTOR, ///< y[i] = f(a[0], b[i])
  APUS_BINARY_FORM_COUNT
} apus_binary_form;

/// The scalar operand is read before anything is written, so it may lie inside y.
typedef void (*apus_binary_fn)(size_t n, const float *a, const float *b, float *y);

/// Integer arithmetic modulo 2^32 or 2^64 (signed and unsigned elements alike).
typedef enum apus_integer_op { APUS_INTEGER_ADD, APUS_INTEGER_SUB, APUS_INTEGER_MUL, APUS_INTEGER_COUNT } apus_integer_op;

/// a, b and y point to elements of the size asked for; see apus_binary_form.
typedef void (*apus_integer_fn)(size_t n, const void *a, const void *b, void *y);

/// y[i] = condition[i] != 0 ? a[i] : b[i]. A step of 0 means the operand is one element used for every i; any other
/// step means an array.
typedef void (*apus_blend_fn)(size_t n, const uint8_t *condition, const void *a, size_t a_step, const void *b,
                              size_t b_step, void *y);

/// The kernels of one level. The function tables are read with the functions below.
typedef struct apus_elementwise_kernels {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  /// y[r][c] = x[r][c] scale[c] + shift[c] for rows x channels elements, row strides in elements; shift may be NULL
  /// for 0. y may be x with the same stride. One rounding (two on `generic`).
  void (*scale_shift)(size_t rows, size_t channels, const float *x, size_t x_stride, const float *scale,
                      const float *shift, float *y, size_t y_stride);
  apus_unary_fn unary[APUS_UNARY_COUNT];
  apus_row_function row[APUS_UNARY_COUNT];
  apus_double_fn doubles[APUS_UNARY_COUNT];
  apus_binary_fn binary[APUS_BINARY_COUNT][APUS_BINARY_FORM_COUNT];
  apus_integer_fn integer32[APUS_INTEGER_COUNT][APUS_BINARY_FORM_COUNT];
  apus_integer_fn integer64[APUS_INTEGER_COUNT][APUS_BINARY_FORM_COUNT];
  apus_blend_fn blend[4];
} apus_elementwise_kernels;

/// All levels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_elementwise_kernels *apus_elementwise_at(size_t index);

/// The best kernels for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_elementwise_kernels *apus_elementwise_select(uint32_t levels);

/// The function for an operation; NULL for a number that is none.
apus_unary_fn apus_elementwise_unary(const apus_elementwise_kernels *kernels, apus_unary_op op);
/// The same function in place, in the form that the epilogue of a product takes.
apus_row_function apus_elementwise_row(const apus_elementwise_kernels *kernels, apus_unary_op op);
/// The function of doubles; NULL where there is none, which is all but a few.
apus_double_fn apus_elementwise_double(const apus_elementwise_kernels *kernels, apus_unary_op op);
apus_binary_fn apus_elementwise_binary(const apus_elementwise_kernels *kernels, apus_binary_op op, apus_binary_form form);
/// `bytes` is the size of an element: 4 or 8.
apus_integer_fn apus_elementwise_integer(const apus_elementwise_kernels *kernels, apus_integer_op op,
                                         apus_binary_form form, size_t bytes);
/// `bytes` is the size of an element: 1, 2, 4 or 8.
apus_blend_fn apus_elementwise_blend(const apus_elementwise_kernels *kernels, size_t bytes);

/// How many parameters an operation reads, 0…2; -1 for a number that is none.
int apus_unary_param_count(apus_unary_op op);

/// Names for tests, benchmarks and messages, such as "leaky_relu" and "prelu"; NULL for a number that is none.
const char *apus_unary_name(apus_unary_op op);
const char *apus_binary_name(apus_binary_op op);

#ifdef __cplusplus
}
#endif
#endif
