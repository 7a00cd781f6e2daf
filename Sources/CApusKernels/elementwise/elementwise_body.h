// The functions of one level, written over the vectors of the vec_*.h included before. The including file defines
// APUS_LEVEL (the suffix of the table) and APUS_LEVEL_ISA, and surrounds this with the target region.
#include "../simd/vec_math.h"
#include "../cpu/table.h"
#include "apus_elementwise.h"
#include "double_math.h"

// MARK: One operand

#define DEFINE_UNARY(NAME, PARAMS, EXPRESSION)                                                       \
  APUS_INLINE vf value_of_##NAME(vf x, vf p0, vf p1) {                                               \
    (void)p0, (void)p1;                                                                              \
    return EXPRESSION;                                                                               \
  }                                                                                                  \
  static void unary_##NAME(size_t n, const float *x, float *y, const float *params) {                \
    const vf p0 = v_set1(PARAMS > 0 ? params[0] : 0.0f), p1 = v_set1(PARAMS > 1 ? params[1] : 0.0f); \
    size_t i = 0;                                                                                    \
    if (VW == 1) { /* Local blocks alias nothing, so that the compiler makes vectors of them. */     \
      for (; i + 16 <= n; i += 16) {                                                                 \
        float in[16], out[16];                                                                       \
        memcpy(in, x + i, sizeof in);                                                                \
        for (int j = 0; j < 16; j += VW) v_store(out + j, value_of_##NAME(v_load(in + j), p0, p1));  \
        memcpy(y + i, out, sizeof out);                                                              \
      }                                                                                              \
    }                                                                                                \
    for (; i + VW <= n; i += VW) v_store(y + i, value_of_##NAME(v_load(x + i), p0, p1));             \
    if (i < n) v_store_n(y + i, n - i, value_of_##NAME(v_load_n(x + i, n - i), p0, p1));             \
  }

#define ZERO v_set1(0.0f)
#define ONE v_set1(1.0f)
#define HALF v_set1(0.5f)

APUS_INLINE vf v_hard_sigmoid(vf x, vf slope, vf offset) {
  return v_max(ZERO, v_min(ONE, v_fma(slope, x, offset)));
}

APUS_INLINE vf v_mish(vf x) {
  // tanh(log(1 + e)) = ((1 + e)^2 - 1) / ((1 + e)^2 + 1); from 20 on it is 1.
  const vf e = v_exp(v_min(v_set1(20.0f), x));
  const vf n = v_mul(e, v_add(e, v_set1(2.0f)));
  return v_mul(x, v_div(n, v_add(n, v_set1(2.0f))));
}

APUS_INLINE vf v_gelu_tanh(vf x) {
  // (1 + tanh u) / 2 is sigmoid(2u).
  const vf u = v_mul(v_mul(x, v_set1(0x1.988454p+0f)), v_fma(v_set1(0.044715f), v_mul(x, x), ONE));
  return v_mul(x, v_sigmoid(u));
}

DEFINE_UNARY(exp, 0, v_exp(x))
DEFINE_UNARY(log, 0, v_log(x))
DEFINE_UNARY(tanh, 0, v_tanh(x))
DEFINE_UNARY(sigmoid, 0, v_sigmoid(x))
DEFINE_UNARY(erf, 0, v_erf(x))
DEFINE_UNARY(sqrt, 0, v_sqrt(x))
DEFINE_UNARY(reciprocal, 0, v_div(ONE, x))
DEFINE_UNARY(neg, 0, v_neg(x))
DEFINE_UNARY(abs, 0, v_abs(x))
DEFINE_UNARY(sign, 0, v_select(v_lt(ZERO, x), ONE, v_select(v_lt(x, ZERO), v_set1(-1.0f), x)))
DEFINE_UNARY(floor, 0, v_floor(x))
DEFINE_UNARY(ceil, 0, v_ceil(x))
DEFINE_UNARY(round, 0, v_round(x))
DEFINE_UNARY(relu, 0, v_max(ZERO, x))
DEFINE_UNARY(leaky_relu, 1, v_select(v_lt(x, ZERO), v_mul(p0, x), x))
DEFINE_UNARY(elu, 1, v_select(v_lt(x, ZERO), v_mul(p0, v_expm1(x)), x))
DEFINE_UNARY(selu, 2, v_mul(p1, v_select(v_lt(x, ZERO), v_mul(p0, v_expm1(x)), x)))
DEFINE_UNARY(celu, 1, v_select(v_lt(x, ZERO), v_mul(p0, v_expm1(v_div(x, p0))), x))
DEFINE_UNARY(softplus, 0, v_softplus(x))
DEFINE_UNARY(softsign, 0, v_div(x, v_add(ONE, v_abs(x))))
DEFINE_UNARY(hard_sigmoid, 2, v_hard_sigmoid(x, p0, p1))
DEFINE_UNARY(hard_swish, 0, v_mul(x, v_hard_sigmoid(x, v_set1(1.0f / 6.0f), HALF)))
DEFINE_UNARY(silu, 1, v_mul(x, v_sigmoid(v_mul(p0, x))))
DEFINE_UNARY(gelu_erf, 0, v_mul(v_mul(HALF, x), v_add(ONE, v_erf(v_mul(x, v_set1(0x1.6a09e6p-1f))))))
DEFINE_UNARY(gelu_tanh, 0, v_gelu_tanh(x))
DEFINE_UNARY(mish, 0, v_mish(x))
DEFINE_UNARY(clip, 2, v_min(p1, v_max(p0, x)))
DEFINE_UNARY(thresholded_relu, 1, v_select(v_lt(p0, x), x, ZERO))
DEFINE_UNARY(linear, 2, v_fma(p0, x, p1))
DEFINE_UNARY(square, 0, v_mul(x, x))
DEFINE_UNARY(cube, 0, v_mul(v_mul(x, x), x))

static void unary_sin(size_t n, const float *x, float *y, const float *params) {
  (void)params;
  for (size_t i = 0; i < n; i += APUS_BLOCK) sine_block(n - i < APUS_BLOCK ? n - i : APUS_BLOCK, x + i, y + i, 0);
}

static void unary_cos(size_t n, const float *x, float *y, const float *params) {
  (void)params;
  for (size_t i = 0; i < n; i += APUS_BLOCK) sine_block(n - i < APUS_BLOCK ? n - i : APUS_BLOCK, x + i, y + i, 1);
}

// Small powers need no logarithm.
static void unary_pow(size_t n, const float *x, float *y, const float *params) {
  const float exponent = params[0];
  if (exponent == 2.0f) {
    unary_square(n, x, y, NULL);
  } else if (exponent == 3.0f) {
    unary_cube(n, x, y, NULL);
  } else if (exponent == -1.0f) {
    unary_reciprocal(n, x, y, NULL);
  } else {
    for (size_t i = 0; i < n; i += APUS_BLOCK) {
      power_block(n - i < APUS_BLOCK ? n - i : APUS_BLOCK, x + i, 1, &exponent, 0, y + i);
    }
  }
}

#define DEFINE_DOUBLE(NAME, FUNCTION)                                                                       \
  static void double_##NAME(size_t n, const double *x, double *y) {                                         \
    size_t i = 0;                                                                                           \
    for (; i + 8 <= n; i += 8) *(unaligned_doubles *)(y + i) = FUNCTION(*(const unaligned_doubles *)(x + i)); \
    if (i < n) {                                                                                            \
      double rest[8] = {0};                                                                                 \
      memcpy(rest, x + i, (n - i) * sizeof *x);                                                             \
      *(unaligned_doubles *)rest = FUNCTION(*(unaligned_doubles *)rest);                                    \
      memcpy(y + i, rest, (n - i) * sizeof *y);                                                             \
    }                                                                                                       \
  }
DEFINE_DOUBLE(exp, exp_doubles)
DEFINE_DOUBLE(tanh, tanh_doubles)
DEFINE_DOUBLE(sqrt, __builtin_elementwise_sqrt)

#define UNARY(NAME, ENUMERATOR, PARAMS) \
  static void row_##NAME(float *row, size_t n, const float *params) { unary_##NAME(n, row, row, params); }
#include "unary.def"
#undef UNARY

// MARK: Two operands

#define DEFINE_BINARY_FORM(NAME, FORM, A, A_N, B, B_N)                                             \
  static void binary_##NAME##_##FORM(size_t n, const float *a, const float *b, float *y) {         \
    if (n == 0) return;                                                                            \
    const vf a0 = v_set1(a[0]), b0 = v_set1(b[0]);                                                 \
    (void)a0, (void)b0;                                                                            \
    size_t i = 0;                                                                                  \
    if (VW == 1) {                                                                                 \
      for (; i + 16 <= n; i += 16) {                                                               \
        float out[16];                                                                             \
        for (int j = 0; j < 16; j += VW) v_store(out + j, value_of_##NAME(A(i + j), B(i + j)));    \
        memcpy(y + i, out, sizeof out);                                                            \
      }                                                                                            \
    }                                                                                              \
    for (; i + VW <= n; i += VW) v_store(y + i, value_of_##NAME(A(i), B(i)));                      \
    if (i < n) v_store_n(y + i, n - i, value_of_##NAME(A_N(i), B_N(i)));                           \
  }

#define LOAD_A(i) v_load(a + (i))
#define LOAD_B(i) v_load(b + (i))
#define LOAD_A_N(i) v_load_n(a + (i), n - (i))
#define LOAD_B_N(i) v_load_n(b + (i), n - (i))
#define ONLY_A(i) a0
#define ONLY_B(i) b0

#define DEFINE_BINARY(NAME, EXPRESSION)                                            \
  APUS_INLINE vf value_of_##NAME(vf a, vf b) { return EXPRESSION; }                \
  DEFINE_BINARY_FORM(NAME, vv, LOAD_A, LOAD_A_N, LOAD_B, LOAD_B_N)                 \
  DEFINE_BINARY_FORM(NAME, vs, LOAD_A, LOAD_A_N, ONLY_B, ONLY_B)                   \
  DEFINE_BINARY_FORM(NAME, sv, ONLY_A, ONLY_A, LOAD_B, LOAD_B_N)

DEFINE_BINARY(add, v_add(a, b))
DEFINE_BINARY(sub, v_sub(a, b))
DEFINE_BINARY(mul, v_mul(a, b))
DEFINE_BINARY(div, v_div(a, b))
DEFINE_BINARY(min, v_select(v_nan(a), a, v_min(a, b)))
DEFINE_BINARY(max, v_select(v_nan(a), a, v_max(a, b)))
DEFINE_BINARY(prelu, v_select(v_lt(a, ZERO), v_mul(a, b), a))

static void binary_pow_vv(size_t n, const float *a, const float *b, float *y) {
  for (size_t i = 0; i < n; i += APUS_BLOCK) {
    power_block(n - i < APUS_BLOCK ? n - i : APUS_BLOCK, a + i, 1, b + i, 1, y + i);
  }
}
static void binary_pow_vs(size_t n, const float *a, const float *b, float *y) {
  if (n == 0) return;
  const float exponent = *b;
  unary_pow(n, a, y, &exponent);
}
static void binary_pow_sv(size_t n, const float *a, const float *b, float *y) {
  if (n == 0) return;
  const float base = *a;
  for (size_t i = 0; i < n; i += APUS_BLOCK) {
    power_block(n - i < APUS_BLOCK ? n - i : APUS_BLOCK, &base, 0, b + i, 1, y + i);
  }
}

static void scale_shift(size_t rows, size_t channels, const float *x, size_t x_stride, const float *scale,
                        const float *shift, float *y, size_t y_stride) {
  for (size_t r = 0; r < rows; r++, x += x_stride, y += y_stride) {
    size_t c = 0;
    for (; c + VW <= channels; c += VW) {
      const vf offset = shift ? v_load(shift + c) : ZERO;
      v_store(y + c, v_fma(v_load(x + c), v_load(scale + c), offset));
    }
    if (c < channels) {
      const size_t rest = channels - c;
      const vf offset = shift ? v_load_n(shift + c, rest) : ZERO;
      v_store_n(y + c, rest, v_fma(v_load_n(x + c, rest), v_load_n(scale + c, rest), offset));
    }
  }
}

// MARK: Integers

// Blocks through a local array, because in place is allowed: the compiler makes vectors only where nothing aliases.
#define DEFINE_INTEGER_FORM(NAME, BITS, FORM, A, B, OPERATOR)                                          \
  static void integer##BITS##_##NAME##_##FORM(size_t n, const void *va, const void *vb, void *vy) {    \
    if (n == 0) return;                                                                                \
    const uint##BITS##_t *a = va, *b = vb, a0 = *a, b0 = *b;                                           \
    (void)a0, (void)b0;                                                                                \
    uint##BITS##_t *y = vy;                                                                            \
    size_t i = 0;                                                                                      \
    for (; i + 32 <= n; i += 32) {                                                                     \
      uint##BITS##_t out[32];                                                                          \
      for (size_t j = 0; j < 32; j++) out[j] = A(i + j) OPERATOR B(i + j);                             \
      memcpy(y + i, out, sizeof out);                                                                  \
    }                                                                                                  \
    for (; i < n; i++) y[i] = A(i) OPERATOR B(i);                                                      \
  }
#define ITEM_A(i) a[i]
#define ITEM_B(i) b[i]
#define DEFINE_INTEGER(NAME, BITS, OPERATOR)                       \
  DEFINE_INTEGER_FORM(NAME, BITS, vv, ITEM_A, ITEM_B, OPERATOR)    \
  DEFINE_INTEGER_FORM(NAME, BITS, vs, ITEM_A, ONLY_B, OPERATOR)    \
  DEFINE_INTEGER_FORM(NAME, BITS, sv, ONLY_A, ITEM_B, OPERATOR)
DEFINE_INTEGER(add, 32, +)
DEFINE_INTEGER(sub, 32, -)
DEFINE_INTEGER(mul, 32, *)
DEFINE_INTEGER(add, 64, +)
DEFINE_INTEGER(sub, 64, -)
DEFINE_INTEGER(mul, 64, *)

// MARK: Choice by a condition

#define DEFINE_BLEND(BITS)                                                                              \
  APUS_INLINE void blend##BITS##_steps(size_t n, const uint8_t *condition, const uint##BITS##_t *a,     \
                                       int a_is_array, const uint##BITS##_t *b, int b_is_array,         \
                                       uint##BITS##_t *y) {                                             \
    const uint##BITS##_t a0 = *a, b0 = *b;                                                              \
    size_t i = 0;                                                                                       \
    for (; i + 32 <= n; i += 32) {                                                                      \
      uint##BITS##_t out[32];                                                                           \
      for (size_t j = 0; j < 32; j++) {                                                                 \
        const uint##BITS##_t yes = a_is_array ? a[i + j] : a0, no = b_is_array ? b[i + j] : b0;         \
        const uint##BITS##_t mask = (uint##BITS##_t)(condition[i + j] ? ~UINT64_C(0) : 0);              \
        out[j] = (uint##BITS##_t)((yes & mask) | (no & (uint##BITS##_t)~mask));                         \
      }                                                                                                 \
      memcpy(y + i, out, sizeof out);                                                                   \
    }                                                                                                   \
    for (; i < n; i++) y[i] = condition[i] ? (a_is_array ? a[i] : a0) : (b_is_array ? b[i] : b0);       \
  }                                                                                                     \
  static void blend##BITS(size_t n, const uint8_t *condition, const void *a, size_t a_step,             \
                          const void *b, size_t b_step, void *y) {                                      \
    if (n == 0) return;                                                                                 \
    if (a_step && b_step) blend##BITS##_steps(n, condition, a, 1, b, 1, y);                             \
    else if (a_step) blend##BITS##_steps(n, condition, a, 1, b, 0, y);                                  \
    else if (b_step) blend##BITS##_steps(n, condition, a, 0, b, 1, y);                                  \
    else blend##BITS##_steps(n, condition, a, 0, b, 0, y);                                              \
  }
DEFINE_BLEND(8)
DEFINE_BLEND(16)
DEFINE_BLEND(32)
DEFINE_BLEND(64)

// MARK: Table

#define FORMS(NAME) {NAME##_vv, NAME##_vs, NAME##_sv}
extern const apus_elementwise_kernels APUS_NAME(apus_elementwise, APUS_LEVEL);
const apus_elementwise_kernels APUS_NAME(apus_elementwise, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .scale_shift = scale_shift,
    .unary = {
#define UNARY(NAME, ENUMERATOR, PARAMS) [APUS_UNARY_##ENUMERATOR] = unary_##NAME,
#include "unary.def"
#undef UNARY
    },
    .row = {
#define UNARY(NAME, ENUMERATOR, PARAMS) [APUS_UNARY_##ENUMERATOR] = row_##NAME,
#include "unary.def"
#undef UNARY
    },
    .binary = {
        [APUS_BINARY_ADD] = FORMS(binary_add),
        [APUS_BINARY_SUB] = FORMS(binary_sub),
        [APUS_BINARY_MUL] = FORMS(binary_mul),
        [APUS_BINARY_DIV] = FORMS(binary_div),
        [APUS_BINARY_MIN] = FORMS(binary_min),
        [APUS_BINARY_MAX] = FORMS(binary_max),
        [APUS_BINARY_POW] = FORMS(binary_pow),
        [APUS_BINARY_PRELU] = FORMS(binary_prelu),
    },
    .integer32 = {FORMS(integer32_add), FORMS(integer32_sub), FORMS(integer32_mul)},
    .integer64 = {FORMS(integer64_add), FORMS(integer64_sub), FORMS(integer64_mul)},
    .doubles = {[APUS_UNARY_EXP] = double_exp, [APUS_UNARY_TANH] = double_tanh, [APUS_UNARY_SQRT] = double_sqrt},
    .blend = {blend8, blend16, blend32, blend64},
};
