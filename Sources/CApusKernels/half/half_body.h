// The conversions of one level: integer arithmetic that the compiler turns into vectors of the surrounding target, and
// the processor's own f16 instructions where there are some.
#include "../cpu/table.h"
#include "apus_half.h"

APUS_INLINE uint32_t bits_of(float x) { uint32_t r; memcpy(&r, &x, sizeof r); return r; }
APUS_INLINE float float_of(uint32_t x) { float r; memcpy(&r, &x, sizeof r); return r; }

// MARK: Any format with a sign, `exponent_bits` and `mantissa_bits`

// How a format's largest codes are used.
enum specials {
  IEEE,       // the top exponent holds infinity and NaN
  FINITE_NAN, // FN: the all-ones code is NaN
  UNSIGNED_ZERO, // FNUZ: NaN is the code of -0
  NUMBERS,    // neither infinity nor NaN
};

struct format {
  uint32_t exponent_bits, mantissa_bits, bias;
  enum specials specials;
  uint32_t infinity; // IEEE only
  uint32_t largest;  // code of the largest number
  uint32_t nan;      // with the sign bit to be added (IEEE, FINITE_NAN)
};

APUS_INLINE float decode(struct format f, uint32_t code) {
  const uint32_t sign_bit = 1u << (f.exponent_bits + f.mantissa_bits);
  const uint32_t magnitude = code & (sign_bit - 1), sign = (code & sign_bit) ? 0x80000000u : 0;
  const uint32_t exponent = magnitude >> f.mantissa_bits;
  const uint32_t mantissa = magnitude & ((1u << f.mantissa_bits) - 1);
  const uint32_t normal = (magnitude << (23 - f.mantissa_bits)) + ((127 - f.bias) << 23);
  // A denormal is its mantissa times the step; the product is exact.
  const float denormal = (float)(int32_t)mantissa * float_of((128 - f.bias - f.mantissa_bits) << 23);
  uint32_t result = exponent ? normal : bits_of(denormal);
  if (f.specials == IEEE) {
    const uint32_t special = 0x7f800000u | (mantissa << (23 - f.mantissa_bits)) | (mantissa ? 0x400000u : 0);
    result = magnitude >= f.infinity ? special : result;
  }
  if (f.specials == FINITE_NAN) result = magnitude == f.nan ? 0x7fc00000u : result;
  if (f.specials == UNSIGNED_ZERO) result = (code & (2 * sign_bit - 1)) == sign_bit ? 0x7fc00000u : result;
  return float_of(result | sign);
}

APUS_INLINE uint32_t encode(struct format f, float x, int saturate) {
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 31) << (f.exponent_bits + f.mantissa_bits);
  const uint32_t exponent = magnitude >> 23, least = 128 - f.bias; // biased exponent of the least normal number
  // Every format here has its denormals among the normal numbers of f32: those of f32 round to 0.
  const uint32_t significand = exponent ? (magnitude & 0x7fffffu) | 0x800000u : 0;
  const uint32_t below = exponent < least ? least - exponent : 0;
  uint32_t shift = 23 - f.mantissa_bits + below;
  shift = shift > 31 ? 31 : shift;
  const uint32_t rounded = (significand + (1u << (shift - 1)) - 1 + ((significand >> shift) & 1)) >> shift;
  // Carrying into the exponent is right by itself: the implicit bit is part of what is rounded.
  const uint32_t above = exponent > least ? exponent - least : 0;
  uint32_t code = (above << f.mantissa_bits) + rounded;
  const uint32_t negative_zero = 1u << (f.exponent_bits + f.mantissa_bits);

  const int too_large = code > f.largest;
  if (f.specials == NUMBERS) {
    code = (too_large ? f.largest : code) | sign;
    return magnitude > 0x7f800000u ? sign ^ negative_zero : code;
  }
  if (f.specials == UNSIGNED_ZERO) {
    const uint32_t beyond = saturate ? f.largest | sign : negative_zero;
    code = too_large ? beyond : code ? code | sign : 0;
    return magnitude > 0x7f800000u ? negative_zero : code;
  }
  const uint32_t beyond = saturate ? f.largest : f.specials == IEEE ? f.infinity : f.nan;
  code = too_large ? beyond : code;
  return (magnitude > 0x7f800000u ? f.nan : code) | sign;
}

#define F16_FORMAT ((struct format){5, 10, 15, IEEE, 0x7c00, 0x7bff, 0x7e00})
#define E4M3FN_FORMAT ((struct format){4, 3, 7, FINITE_NAN, 0, 0x7e, 0x7f})
#define E4M3FNUZ_FORMAT ((struct format){4, 3, 8, UNSIGNED_ZERO, 0, 0x7f, 0x80})
#define E5M2_FORMAT ((struct format){5, 2, 15, IEEE, 0x7c, 0x7b, 0x7e})
#define E5M2FNUZ_FORMAT ((struct format){5, 2, 16, UNSIGNED_ZERO, 0, 0x7f, 0x80})
#define E2M3_FORMAT ((struct format){2, 3, 1, NUMBERS, 0, 0x1f, 0})
#define E3M2_FORMAT ((struct format){3, 2, 3, NUMBERS, 0, 0x1f, 0})
#define E2M1_FORMAT ((struct format){2, 1, 1, NUMBERS, 0, 0x7, 0})

#define DEFINE_BYTE_FORMAT(NAME, FORMAT)                                                          \
  static void NAME##_to_f32(size_t n, const void *x, float *y) {                                  \
    const uint8_t *restrict codes = x;                                                            \
    float *restrict out = y;                                                                      \
    for (size_t i = 0; i < n; i++) out[i] = decode(FORMAT, codes[i]);                             \
  }                                                                                               \
  static void f32_to_##NAME(size_t n, const float *x, void *y, bool saturate) {                   \
    const float *restrict in = x;                                                                 \
    uint8_t *restrict codes = y;                                                                  \
    if (saturate) {                                                                               \
      for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)encode(FORMAT, in[i], 1);                \
    } else {                                                                                      \
      for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)encode(FORMAT, in[i], 0);                \
    }                                                                                             \
  }

DEFINE_BYTE_FORMAT(e4m3fn, E4M3FN_FORMAT)
DEFINE_BYTE_FORMAT(e4m3fnuz, E4M3FNUZ_FORMAT)
DEFINE_BYTE_FORMAT(e5m2, E5M2_FORMAT)
DEFINE_BYTE_FORMAT(e5m2fnuz, E5M2FNUZ_FORMAT)
DEFINE_BYTE_FORMAT(e2m3, E2M3_FORMAT)
DEFINE_BYTE_FORMAT(e3m2, E3M2_FORMAT)
DEFINE_BYTE_FORMAT(e2m1, E2M1_FORMAT)

// MARK: E8M0

static void e8m0_to_f32(size_t n, const void *x, float *y) {
  const uint8_t *restrict codes = x;
  float *restrict out = y;
  for (size_t i = 0; i < n; i++) {
    const uint32_t code = codes[i];
    const uint32_t number = code ? code << 23 : 0x400000u;
    out[i] = float_of(code == 255 ? 0x7fc00000u : number);
  }
}

static void f32_to_e8m0_rounded(size_t n, const float *x, uint8_t *y, bool saturate, apus_e8m0_rounding rounding) {
  const float *restrict in = x;
  uint8_t *restrict codes = y;
  const uint32_t beyond = saturate ? 254 : 255;
  // Added before the mantissa is cut off. Code 0 is 2^-127, the middle of the denormals: there the mantissa counts double.
  const uint32_t carry = rounding == APUS_E8M0_UP ? 0x7fffffu : rounding == APUS_E8M0_NEAREST ? 0x400000u : 0;
  for (size_t i = 0; i < n; i++) {
    const uint32_t magnitude = bits_of(in[i]) & 0x7fffffffu;
    const uint32_t doubled = magnitude > 0x400000u ? 2 * (magnitude - 0x400000u) : 0;
    const uint32_t code = ((magnitude < 0x800000u ? doubled : magnitude) + carry) >> 23;
    const uint32_t finite = code > 254 ? beyond : code;
    const uint32_t special = magnitude == 0x7f800000u ? beyond : 255;
    codes[i] = (uint8_t)(magnitude >= 0x7f800000u ? special : finite);
  }
}

static void f32_to_e8m0(size_t n, const float *x, void *y, bool saturate) {
  f32_to_e8m0_rounded(n, x, y, saturate, APUS_E8M0_UP);
}

// MARK: bf16

static void bf16_to_f32(size_t n, const void *x, float *y) {
  const uint16_t *restrict in = x;
  float *restrict out = y;
  for (size_t i = 0; i < n; i++) out[i] = float_of((uint32_t)in[i] << 16);
}

static void f32_to_bf16(size_t n, const float *x, void *y, bool saturate) {
  (void)saturate;
  const float *restrict in = x;
  uint16_t *restrict out = y;
  for (size_t i = 0; i < n; i++) {
    const uint32_t bits = bits_of(in[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    out[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40 : rounded);
  }
}

// MARK: f16

APUS_INLINE uint16_t half_of(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t nan = ((bits >> 16) & 0x8000) | 0x7e00 | ((bits >> 13) & 0x3ff);
  return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : encode(F16_FORMAT, x, 0));
}

static void f16_to_f32(size_t n, const void *x, float *y) {
  const uint16_t *restrict in = x;
  float *restrict out = y;
  size_t i = 0;
#if defined(APUS_HALF_WIDE)
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(in + i))));
#elif defined(APUS_HALF_F16C)
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + i))));
#elif defined(APUS_HALF_NEON)
  for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
#endif
  for (; i < n; i++) out[i] = decode(F16_FORMAT, in[i]);
}

static void f32_to_f16(size_t n, const float *x, void *y, bool saturate) {
  (void)saturate;
  const float *restrict in = x;
  uint16_t *restrict out = y;
  size_t i = 0;
#if defined(APUS_HALF_WIDE)
  for (; i + 16 <= n; i += 16) {
    _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtps_ph(_mm512_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
  }
#elif defined(APUS_HALF_F16C)
  for (; i + 8 <= n; i += 8) {
    _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
  }
#elif defined(APUS_HALF_NEON)
  for (; i + 4 <= n; i += 4) vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i))));
#endif
  for (; i < n; i++) out[i] = half_of(in[i]);
}

// MARK: f64

static void f32_to_f64(size_t n, const float *x, double *y) {
  const float *restrict in = x;
  double *restrict out = y;
  for (size_t i = 0; i < n; i++) out[i] = in[i];
}

static void f64_to_f32(size_t n, const double *x, float *y) {
  const double *restrict in = x;
  float *restrict out = y;
  for (size_t i = 0; i < n; i++) out[i] = (float)in[i];
}

static void f64_to_f32_odd(size_t n, const double *x, float *y) {
  const double *restrict in = x;
  float *restrict out = y;
  for (size_t i = 0; i < n; i++) {
    const double d = in[i];
    const float nearest = (float)d;
    const double magnitude = __builtin_fabs(d), rounded = __builtin_fabs((double)nearest);
    // Truncated towards zero, then odd where anything was cut off. Overflow truncates to the largest number, which is odd.
    uint32_t bits = bits_of(nearest);
    bits -= rounded > magnitude;
    bits |= rounded != magnitude && d == d;
    out[i] = float_of(bits);
  }
}

// MARK: Integers

// What x86's conversions give where the truncated number does not fit: the least one.
APUS_INLINE int32_t int32_of_f32(float x) { return x >= -0x1p31f && x < 0x1p31f ? (int32_t)x : INT32_MIN; }
APUS_INLINE int64_t int64_of_f32(float x) { return x >= -0x1p63f && x < 0x1p63f ? (int64_t)x : INT64_MIN; }
APUS_INLINE int32_t int32_of_f64(double x) { return x > -0x1.00000002p31 && x < 0x1p31 ? (int32_t)x : INT32_MIN; }
APUS_INLINE int64_t int64_of_f64(double x) { return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN; }

#define DEFINE_TO_BITS(SOURCE, T, BITS, WIDTH)                                         \
  static void SOURCE##_to_bits##BITS(size_t n, const void *x, void *y) {               \
    const T *restrict in = x;                                                          \
    uint##BITS##_t *restrict out = y;                                                  \
    for (size_t i = 0; i < n; i++) out[i] = (uint##BITS##_t)WIDTH##_of_##SOURCE(in[i]); \
  }

DEFINE_TO_BITS(f32, float, 8, int32)
DEFINE_TO_BITS(f32, float, 16, int32)
DEFINE_TO_BITS(f32, float, 32, int32)
DEFINE_TO_BITS(f32, float, 64, int64)
DEFINE_TO_BITS(f64, double, 8, int32)
DEFINE_TO_BITS(f64, double, 16, int32)
DEFINE_TO_BITS(f64, double, 32, int32)
DEFINE_TO_BITS(f64, double, 64, int64)

extern const apus_half_kernels APUS_NAME(apus_half, APUS_LEVEL);
const apus_half_kernels APUS_NAME(apus_half, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .to_f32 = {f16_to_f32, bf16_to_f32, e4m3fn_to_f32, e4m3fnuz_to_f32, e5m2_to_f32, e5m2fnuz_to_f32, e8m0_to_f32,
               e2m3_to_f32, e3m2_to_f32, e2m1_to_f32},
    .from_f32 = {f32_to_f16, f32_to_bf16, f32_to_e4m3fn, f32_to_e4m3fnuz, f32_to_e5m2, f32_to_e5m2fnuz, f32_to_e8m0,
                 f32_to_e2m3, f32_to_e3m2, f32_to_e2m1},
    .f32_to_e8m0 = f32_to_e8m0_rounded,
    .f32_to_f64 = f32_to_f64,
    .f64_to_f32 = f64_to_f32,
    .f64_to_f32_odd = f64_to_f32_odd,
    .f32_to_bits = {f32_to_bits8, f32_to_bits16, f32_to_bits32, f32_to_bits64},
    .f64_to_bits = {f64_to_bits8, f64_to_bits16, f64_to_bits32, f64_to_bits64},
};
