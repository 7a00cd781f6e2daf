// sin, cos and pow of floats, computed in double precision, and functions of doubles, without branches where it matters, so
// that the compiler turns the loops over small blocks into vectors of whichever level surrounds them. Same bits on every level
// but for fused multiply-adds, far below the precision of a float.
#ifndef APUS_DOUBLE_MATH_H
#define APUS_DOUBLE_MATH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../cpu/target.h"

APUS_INLINE uint64_t double_bits(double x) { uint64_t r; memcpy(&r, &x, sizeof r); return r; }
APUS_INLINE double bits_double(uint64_t x) { double r; memcpy(&r, &x, sizeof r); return r; }
APUS_INLINE uint32_t float_bits(float x) { uint32_t r; memcpy(&r, &x, sizeof r); return r; }

// Adding and taking away this leaves the nearest integer of |x| < 2^51, which also stands in the sum's low bits.
#define APUS_ROUNDER 0x1.8p52

// sin(r + quadrant pi/2) for |r| <= pi/4, error 2^-37.
APUS_INLINE float sine_of_quadrant(double r, uint64_t quadrant) {
  const double s = r * r;
  double sine = 0x1.6ccf5e17182a3p-19;
  sine = sine * s + -0x1.a00f745fa0845p-13;
  sine = sine * s + 0x1.1111085d0673ap-7;
  sine = sine * s + -0x1.5555554c5f792p-3;
  sine = sine * s * r + r;
  double cosine = -0x1.23c75bf280054p-22;
  cosine = cosine * s + 0x1.a00eade0a9a4cp-16;
  cosine = cosine * s + -0x1.6c16b33261053p-10;
  cosine = cosine * s + 0x1.55555545a3fd0p-5;
  cosine = cosine * s + -0x1.ffffffffe94ebp-2;
  cosine = cosine * s + 1.0;
  const double magnitude = (quadrant & 1) ? cosine : sine;
  return (float)bits_double(double_bits(magnitude) ^ ((quadrant & 2) << 62));
}

// The quadrant and remainder of |x| < 2^22: pi/2 has 31 bits in its high part, so n times it is exact.
APUS_INLINE float sine_moderate(float x, uint64_t quarter_turns) {
  const double d = x;
  const double shifted = d * 0x1.45f306dc9c883p-1 + APUS_ROUNDER;
  const double n = shifted - APUS_ROUNDER;
  const double high = n * 0x1.921fb544p+0;
  return sine_of_quadrant((d - high) - n * 0x1.0b4611a626331p-34, double_bits(shifted) + quarter_turns);
}

// Any other x, by 128 of the bits of 2/pi (after Payne and Hanek): the bits of weight 4 and more only turn full circles.
static float sine_large(float x, uint64_t quarter_turns) {
  static const uint32_t two_over_pi[10] = {0x00000000u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u,
                                           0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u, 0xb7246e3au};
  const uint32_t bits = float_bits(x);
  const uint32_t biased = (bits >> 23) & 0xff;
  if (biased == 0xff) return x - x;
  // |x| = m 2^e with a 24-bit m; here e >= -1. The window starts at the bit of 2/pi that e lifts to weight 2.
  const uint32_t m = (bits & 0x7fffff) | 0x800000;
  const uint32_t start = biased - 150 + 30;
  unsigned __int128 window = 0;
  for (uint32_t i = 0; i < 5; i++) {
    const uint32_t word = two_over_pi[start / 32 + i];
    const int place = 96 + (int)(start % 32) - 32 * (int)i;
    window |= place >= 0 ? (unsigned __int128)word << place : (unsigned __int128)((uint64_t)word >> -place);
  }
  const unsigned __int128 turns = window * m;
  uint64_t quadrant = (uint64_t)(turns >> 126);
  const int64_t fraction = (int64_t)(uint64_t)((turns << 2) >> 64);
  quadrant += fraction < 0;
  double r = (double)fraction * (0x1.921fb54442d18p+0 * 0x1p-64);
  if (bits >> 31) {
    r = -r;
    quadrant = 0 - quadrant;
  }
  return sine_of_quadrant(r, quadrant + quarter_turns);
}

// The functions are always inlined, so how wide a level passes vectors does not matter.
#pragma clang diagnostic ignored "-Wpsabi"

// MARK: Functions of doubles, eight at a time

typedef double doubles __attribute__((vector_size(64)));
typedef double unaligned_doubles __attribute__((vector_size(64), aligned(1), may_alias));
typedef int64_t double_words __attribute__((vector_size(64)));
typedef uint64_t unsigned_words __attribute__((vector_size(64)));

// A where the comparison `mask` holds, B elsewhere.
APUS_INLINE doubles choose_doubles(double_words mask, doubles a, doubles b) {
  return (doubles)((mask & (double_words)a) | (~mask & (double_words)b));
}

// e^x = 2^k (1 + q), |x - k ln 2| <= ln 2 / 2, for -746 <= x <= 710; q by its Taylor series, the first term apart.
APUS_INLINE doubles exp_parts(doubles x, double_words *k) {
  const doubles shifted = x * 0x1.71547652b82fep+0 + APUS_ROUNDER, n = shifted - APUS_ROUNDER;
  // ln 2 in two parts, the high one with so few bits that n times it is exact.
  const doubles r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  *k = (double_words)shifted - (int64_t)double_bits(APUS_ROUNDER);
  doubles q = r * 0x1.6124613a86d09p-33 + 0x1.1eed8eff8d898p-29;
  q = q * r + 0x1.ae64567f544e4p-26;
  q = q * r + 0x1.27e4fb7789f5cp-22;
  q = q * r + 0x1.71de3a556c734p-19;
  q = q * r + 0x1.a01a01a01a01ap-16;
  q = q * r + 0x1.a01a01a01a01ap-13;
  q = q * r + 0x1.6c16c16c16c17p-10;
  q = q * r + 0x1.1111111111111p-7;
  q = q * r + 0x1.5555555555555p-5;
  q = q * r + 0x1.5555555555555p-3;
  q = q * r + 0.5;
  return q * (r * r) + r;
}

// 2^k for -1022 <= k <= 1023.
APUS_INLINE doubles powers_of_two(double_words k) { return (doubles)((k + 1023) << 52); }

APUS_INLINE doubles exp_doubles(doubles x) {
  const doubles least = (doubles){} - 746.0, greatest = (doubles){} + 710.0;
  x = choose_doubles(x < least, least, x);
  x = choose_doubles(x > greatest, greatest, x);
  double_words k;
  const doubles q = exp_parts(x, &k);
  // In two steps, since 2^k itself may be too great or too small. No arithmetic shift: not every level has one.
  const double_words half = (double_words)((unsigned_words)(k + 2048) >> 1) - 1024;
  return (1.0 + q) * powers_of_two(half) * powers_of_two(k - half);
}

APUS_INLINE doubles tanh_doubles(doubles x) {
  // tanh |x| = m / (m + 2) where m = e^(2 |x|) - 1 = 2^k q + (2^k - 1); from 22 on it is 1.
  const double_words sign = (double_words)x & INT64_MIN;
  const doubles size = (doubles)((double_words)x ^ sign), greatest = (doubles){} + 22.0;
  double_words k;
  const doubles q = exp_parts(2.0 * choose_doubles(size > greatest, greatest, size), &k), scale = powers_of_two(k);
  const doubles m = scale * q + (scale - 1.0);
  return (doubles)((double_words)(m / (m + 2.0)) | sign);
}

#define APUS_BLOCK 16

// y = sin(x + quarter_turns pi/2) of up to APUS_BLOCK elements.
APUS_INLINE void sine_block(size_t n, const float *x, float *y, uint64_t quarter_turns) {
  float in[APUS_BLOCK] = {0}, out[APUS_BLOCK];
  int moderate = 1;
  memcpy(in, x, n * sizeof *x);
  for (int i = 0; i < APUS_BLOCK; i++) moderate &= __builtin_fabsf(in[i]) < 0x1p22f;
  if (moderate) {
    for (int i = 0; i < APUS_BLOCK; i++) out[i] = sine_moderate(in[i], quarter_turns);
  } else {
    for (int i = 0; i < APUS_BLOCK; i++) {
      out[i] = __builtin_fabsf(in[i]) < 0x1p22f ? sine_moderate(in[i], quarter_turns) : sine_large(in[i], quarter_turns);
    }
  }
  memcpy(y, out, n * sizeof *y);
}

APUS_INLINE float power(float base, float exponent) {
  const double x = __builtin_fabsf(base), y = exponent;
  // log2 x = k + log2 m with m in [sqrt(1/2), sqrt(2)); log2 m by the series of artanh in (m - 1) / (m + 1).
  // Floats, denormal ones too, are normal doubles.
  const uint64_t root_half = UINT64_C(0x3fe6a09e667f3bcd);
  const uint64_t offset = double_bits(x) - root_half;
  const double m = bits_double((offset & UINT64_C(0xfffffffffffff)) + root_half);
  // The exponent, biased to be positive, placed in the mantissa of 2^52.
  const uint64_t biased = (offset + (UINT64_C(1) << 62)) >> 52;
  const double k = bits_double(biased | UINT64_C(0x4330000000000000)) - (0x1p52 + 1024.0);
  const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
  double p = 0x1.f10a4210c70bfp-3;
  p = p * s2 + 0x1.0bbdbf8b29736p-2;
  p = p * s2 + 0x1.484f724ae1682p-2;
  p = p * s2 + 0x1.a617578162cfcp-2;
  p = p * s2 + 0x1.2776c51581411p-1;
  p = p * s2 + 0x1.ec709dc39db4ap-1;
  double log2x = k + (s * 0x1.71547652b82fep+1 + s * s2 * p);
  const double infinity = __builtin_inf();
  log2x = x == 0.0 ? -infinity : log2x;
  log2x = x == infinity ? infinity : log2x;

  double t = y * log2x;
  t = t < -200.0 ? -200.0 : t;
  t = t > 200.0 ? 200.0 : t;
  const double shifted = t + APUS_ROUNDER;
  const double r = t - (shifted - APUS_ROUNDER);
  double e = 0x1.fe17715af9170p-17;
  e = e * r + 0x1.446a1f8eb0229p-13;
  e = e * r + 0x1.5d8a7091f3defp-10;
  e = e * r + 0x1.3b29dc4124f7ep-7;
  e = e * r + 0x1.c6b08aaf2beb1p-5;
  e = e * r + 0x1.ebfbe0a4be5c9p-3;
  e = e * r + 0x1.62e42ff1162a5p-1;
  e = e * r + 0x1.ffffffffabbd2p-1;
  float result = (float)bits_double(double_bits(e) + (double_bits(shifted) << 52));

  const double size = __builtin_fabs(y);
  const int huge = size >= 0x1p24;
  const int whole = huge | ((y + APUS_ROUNDER) - APUS_ROUNDER == y);
  const double half = 0.5 * y;
  const int odd = (!huge) & whole & ((half + APUS_ROUNDER) - APUS_ROUNDER != half);
  const int undefined = (base < 0.0f) & (x != infinity) & (!whole);
  const int negative = odd & (int)(float_bits(base) >> 31);
  const int unit_to_infinity = (x == 1.0) & (size == infinity);
  const int not_a_number = (base != base) | (exponent != exponent);
  const int always_one = (base == 1.0f) | (exponent == 0.0f);
  result = undefined ? __builtin_nanf("") : result;
  result = negative ? -result : result;
  result = unit_to_infinity ? 1.0f : result;
  result = not_a_number ? base + exponent : result;
  return always_one ? 1.0f : result;
}

APUS_INLINE void power_block(size_t n, const float *a, int a_is_array, const float *b, int b_is_array, float *y) {
  float base[APUS_BLOCK] = {0}, exponent[APUS_BLOCK] = {0}, out[APUS_BLOCK];
  if (a_is_array) memcpy(base, a, n * sizeof *a);
  if (b_is_array) memcpy(exponent, b, n * sizeof *b);
  for (int i = 0; i < APUS_BLOCK; i++) {
    out[i] = power(a_is_array ? base[i] : *a, b_is_array ? exponent[i] : *b);
  }
  memcpy(y, out, n * sizeof *y);
}

#endif
