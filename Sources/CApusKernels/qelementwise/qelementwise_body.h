// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "apus_qelementwise.h"

#pragma STDC FP_CONTRACT OFF

APUS_INLINE vi load_codes(const void *p, size_t i, size_t lanes, bool is_signed) {
  const uint8_t *from = (const uint8_t *)p + i;
  uint8_t some[VW] = {0};
  if (lanes < VW) {
    memcpy(some, from, lanes);
    from = some;
  }
  return is_signed ? vi_load_s8((const int8_t *)from) : vi_load_u8(from);
}

APUS_INLINE void store_codes(void *p, size_t i, size_t lanes, vf value, bool is_signed) {
  const vf low = v_set1(is_signed ? -128.0f : 0.0f), high = v_set1(is_signed ? 127.0f : 255.0f);
  uint8_t *to = (uint8_t *)p + i, some[VW];
  vi_store_low8(lanes == VW ? to : some, v_to_int(v_min(v_max(value, low), high)));
  if (lanes < VW) memcpy(to, some, lanes);
}

APUS_INLINE void add_codes(const apus_qadd_args *args, bool is_signed) {
  const vf base = v_set1(args->base), a_ratio = v_set1(args->a_ratio), b_ratio = v_set1(args->b_ratio);
  for (size_t i = 0; i < args->n; i += VW) {
    const size_t lanes = args->n - i < VW ? args->n - i : VW;
    vf sum = v_add(base, v_mul(vi_to_float(load_codes(args->a, i, lanes, is_signed)), a_ratio));
    if (args->b) sum = v_add(sum, v_mul(vi_to_float(load_codes(args->b, i, lanes, is_signed)), b_ratio));
    store_codes(args->y, i, lanes, sum, is_signed);
  }
}

#ifdef VI_STORE_SATURATED
// Four vectors at a time, saturated by the instructions that narrow. Only where no sum passes the range of integers.
APUS_INLINE size_t add_narrowing(const apus_qadd_args *args, bool is_signed) {
  const vf base = v_set1(args->base), a_ratio = v_set1(args->a_ratio), b_ratio = v_set1(args->b_ratio);
  size_t i = 0;
  for (; i + 4 * VW <= args->n; i += 4 * VW) {
    vi codes[4];
    for (int j = 0; j < 4; j++) {
      vf sum = v_add(base, v_mul(vi_to_float(load_codes(args->a, i + (size_t)j * VW, VW, is_signed)), a_ratio));
      if (args->b) sum = v_add(sum, v_mul(vi_to_float(load_codes(args->b, i + (size_t)j * VW, VW, is_signed)), b_ratio));
      codes[j] = v_to_int(sum);
    }
    vi_store_saturated((uint8_t *)args->y + i, codes[0], codes[1], codes[2], codes[3], is_signed);
  }
  return i;
}

static bool may_narrow(const apus_qadd_args *args) {
  const float largest = __builtin_fabsf(args->base) + 256 * (__builtin_fabsf(args->a_ratio) + __builtin_fabsf(args->b_ratio));
  return largest < 0x1p30f;
}
#endif

static void add(const apus_qadd_args *args) {
#ifdef VI_STORE_SATURATED
  if (may_narrow(args)) {
    const size_t done = args->is_signed ? add_narrowing(args, true) : add_narrowing(args, false);
    apus_qadd_args rest = *args;
    rest.n -= done;
    rest.a = (const uint8_t *)args->a + done;
    rest.b = args->b ? (const uint8_t *)args->b + done : NULL;
    rest.y = (uint8_t *)args->y + done;
    add_codes(&rest, args->is_signed);
    return;
  }
#endif
  if (args->is_signed) add_codes(args, true);
  else add_codes(args, false);
}

APUS_INLINE void multiply_codes(const apus_qmul_args *args, bool is_signed) {
  const vi a_zero = vi_set1(args->a_zero), b_zero = vi_set1(args->b_zero);
  const vf ratio = v_set1(args->ratio), zero_point = v_set1(args->zero_point);
  vi right = vi_set1(args->factor);
  for (size_t i = 0; i < args->n; i += VW) {
    const size_t lanes = args->n - i < VW ? args->n - i : VW;
    const vi left = vi_sub(load_codes(args->a, i, lanes, is_signed), a_zero);
    if (args->b) right = vi_sub(load_codes(args->b, i, lanes, is_signed), b_zero);
    store_codes(args->y, i, lanes, v_add(v_mul(vi_to_float(vi_mul(left, right)), ratio), zero_point), is_signed);
  }
}

static void mul(const apus_qmul_args *args) {
  if (args->is_signed) multiply_codes(args, true);
  else multiply_codes(args, false);
}

// Channels in pieces of a fixed size, which compilers keep in registers. Signed codes are compared as unsigned ones with the
// highest bit flipped.
enum { PIECE = 64 };

APUS_INLINE void greatest(const apus_qmax_args *args, const ptrdiff_t *taps, size_t c, size_t count, uint8_t *output) {
  const uint8_t flip = args->is_signed ? 0x80 : 0;
  uint8_t best[PIECE] = {0};
  for (size_t t = 0; t < args->taps; t++) {
    if (taps[t] == APUS_PADDING_TAP) continue;
    const uint8_t *from = (const uint8_t *)args->input + taps[t] + c;
    for (size_t i = 0; i < count; i++) {
      const uint8_t code = from[i] ^ flip;
      best[i] = code > best[i] ? code : best[i];
    }
  }
  for (size_t i = 0; i < count; i++) output[c + i] = best[i] ^ flip;
}

static void max(const apus_qmax_args *args, size_t pixel_begin, size_t pixel_end) {
  for (size_t p = pixel_begin; p < pixel_end; p++) {
    const ptrdiff_t *taps = args->table + p * args->taps;
    uint8_t *output = (uint8_t *)args->output + p * args->channels;
    size_t c = 0;
    for (; c + PIECE <= args->channels; c += PIECE) greatest(args, taps, c, PIECE, output);
    if (c < args->channels) greatest(args, taps, c, args->channels - c, output);
  }
}

APUS_INLINE void sum_codes(const apus_qsum_args *args, size_t c, size_t lanes, int count, bool is_signed) {
  vi totals[4];
  for (int i = 0; i < count; i++) totals[i] = vi_set1(0);
  for (size_t p = 0; p < args->pixels; p++) {
    for (int i = 0; i < count; i++)
      totals[i] = vi_add(totals[i], load_codes(args->input, p * args->pixel_stride + c + (size_t)i * VW, lanes, is_signed));
  }
  for (int i = 0; i < count; i++) {
    int32_t some[VW];
    vi_store(lanes == VW ? args->sums + c + (size_t)i * VW : some, totals[i]);
    if (lanes < VW) memcpy(args->sums + c, some, lanes * sizeof *some);
  }
}

APUS_INLINE void sum_all(const apus_qsum_args *args, bool is_signed) {
  size_t c = 0;
  for (; c + 4 * VW <= args->channels; c += 4 * VW) sum_codes(args, c, VW, 4, is_signed);
  for (; c < args->channels; c += VW) sum_codes(args, c, args->channels - c < VW ? args->channels - c : VW, 1, is_signed);
}

static void sum(const apus_qsum_args *args) {
  if (args->is_signed) sum_all(args, true);
  else sum_all(args, false);
}

extern const apus_qelementwise_kernels APUS_NAME(apus_qelementwise, APUS_LEVEL);
const apus_qelementwise_kernels APUS_NAME(apus_qelementwise, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .add = add, .mul = mul, .max = max, .sum = sum};
