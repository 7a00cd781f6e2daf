// The kernels of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "apus_quantize.h"
#include "requantize.h"

// Tails go through a full vector's worth of memory on the stack.
APUS_INLINE vi load_ints(const int32_t *p, size_t lanes) {
  if (lanes == VW) return vi_load(p);
  int32_t some[VW] = {0};
  memcpy(some, p, lanes * sizeof *p);
  return vi_load(some);
}

APUS_INLINE vf load_floats(const float *p, size_t lanes) { return lanes == VW ? v_load(p) : v_load_n(p, lanes); }

// MARK: Quantisation

APUS_INLINE void quantize(const apus_quantize_args *args, int wide) {
  if (args->n == 0) return;
  const vf low = v_set1((float)args->low), high = v_set1((float)args->high);
  vf scale = v_set1(args->scale[0]);
  vf offset = v_set1(args->zero_point ? (float)args->zero_point[0] : 0.0f);
  for (size_t i = 0; i < args->n; i += VW) {
    const size_t lanes = args->n - i < VW ? args->n - i : VW;
    if (args->per_element) {
      scale = load_floats(args->scale + i, lanes);
      if (args->zero_point) offset = vi_to_float(load_ints(args->zero_point + i, lanes));
    }
    const vf rounded = v_round(v_div(load_floats(args->x + i, lanes), scale));
    const vi code = v_to_int(v_min(v_max(v_add(rounded, offset), low), high));
    if (wide) {
      uint16_t *y = (uint16_t *)args->y + i, some[VW];
      vi_store_low16(lanes == VW ? y : some, code);
      if (lanes < VW) memcpy(y, some, lanes * sizeof *y);
    } else {
      uint8_t *y = (uint8_t *)args->y + i, some[VW];
      vi_store_low8(lanes == VW ? y : some, code);
      if (lanes < VW) memcpy(y, some, lanes);
    }
  }
}

static void quantize8(const apus_quantize_args *args) { quantize(args, 0); }
static void quantize16(const apus_quantize_args *args) { quantize(args, 1); }

#define DEFINE_DEQUANTIZE(NAME, TYPE, LOAD)                                                             \
  static void dequantize_##NAME(const apus_dequantize_args *args) {                                     \
    if (args->n == 0) return;                                                                           \
    vf scale = v_set1(args->scale[0]);                                                                  \
    vi offset = vi_set1(args->zero_point ? args->zero_point[0] : 0);                                    \
    for (size_t i = 0; i < args->n; i += VW) {                                                          \
      const size_t lanes = args->n - i < VW ? args->n - i : VW;                                         \
      const TYPE *x = (const TYPE *)args->x + i;                                                        \
      TYPE some[VW] = {0};                                                                              \
      if (lanes < VW) memcpy(some, x, lanes * sizeof *x);                                               \
      if (args->per_element) {                                                                          \
        scale = load_floats(args->scale + i, lanes);                                                    \
        if (args->zero_point) offset = load_ints(args->zero_point + i, lanes);                          \
      }                                                                                                 \
      const vf y = v_mul(vi_to_float(vi_sub(LOAD(lanes == VW ? x : some), offset)), scale);             \
      if (lanes == VW) v_store(args->y + i, y);                                                         \
      else v_store_n(args->y + i, lanes, y);                                                            \
    }                                                                                                   \
  }

DEFINE_DEQUANTIZE(u8, uint8_t, vi_load_u8)
DEFINE_DEQUANTIZE(s8, int8_t, vi_load_s8)
DEFINE_DEQUANTIZE(u16, uint16_t, vi_load_u16)
DEFINE_DEQUANTIZE(s16, int16_t, vi_load_s16)
DEFINE_DEQUANTIZE(s32, int32_t, vi_load)

static void requantize(const apus_requantize_args *args) {
  if (args->n == 0) return;
  const vf low = v_set1((float)(args->low - args->zero_point)), high = v_set1((float)(args->high - args->zero_point));
  const vi offset = vi_set1(args->zero_point);
  vf scale = v_set1(args->scale[0]);
  for (size_t i = 0; i < args->n; i += VW) {
    const size_t lanes = args->n - i < VW ? args->n - i : VW;
    vi sum = load_ints(args->x + i, lanes);
    if (args->bias) sum = vi_add(sum, load_ints(args->bias + i, lanes));
    if (args->per_element) scale = load_floats(args->scale + i, lanes);
    uint8_t *y = args->y + i, some[VW];
    vi_store_low8(lanes == VW ? y : some, v_requantize(sum, scale, offset, low, high));
    if (lanes < VW) memcpy(y, some, lanes);
  }
}

// MARK: Helpers

static void min_max(size_t n, const float *x, float *least, float *largest) {
  enum { STRIPS = VW == 1 ? 16 : 2 };
  vf low[STRIPS], high[STRIPS];
  vm nan = vm_none();
  for (int j = 0; j < STRIPS; j++) {
    low[j] = v_set1(__builtin_inff());
    high[j] = v_set1(-__builtin_inff());
  }
  size_t i = 0;
  for (; i + STRIPS * VW <= n; i += STRIPS * VW) {
    for (int j = 0; j < STRIPS; j++) {
      const vf v = v_load(x + i + j * VW);
      nan = vm_or(nan, v_nan(v));
      low[j] = v_min(low[j], v);
      high[j] = v_max(high[j], v);
    }
  }
  for (; i < n; i += VW) {
    // Lanes beyond the end repeat an element.
    const vf v = n - i < VW ? v_load_n_or(x + i, n - i, x[i]) : v_load(x + i);
    nan = vm_or(nan, v_nan(v));
    low[0] = v_min(low[0], v);
    high[0] = v_max(high[0], v);
  }
  for (int j = 1; j < STRIPS; j++) {
    low[0] = v_min(low[0], low[j]);
    high[0] = v_max(high[0], high[j]);
  }
  *least = vm_any(nan) ? __builtin_nanf("") : v_hmin(low[0]);
  *largest = vm_any(nan) ? __builtin_nanf("") : v_hmax(high[0]);
}

static void lookup(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *y) {
  size_t i = 0;
#ifdef VI_LOOKUP
  if (n >= 16 * VW) {
    vi rows[16];
#pragma clang loop unroll(full)
    for (int r = 0; r < 16; r++) rows[r] = vi_table_row(table + 16 * r);
    for (; i + 4 * VW <= n; i += 4 * VW) {
      const vi x8 = vi_load((const int32_t *)(const void *)(x + i));
      vi result = vi_set1(0);
#pragma clang loop unroll(full)
      for (int r = 0; r < 16; r++) result = vi_lookup(result, x8, rows[r], r);
      vi_store((int32_t *)(void *)(y + i), result);
    }
  }
#endif
  for (; i + 8 <= n; i += 8) {
    // All reads before all writes: in place they would otherwise wait for each other.
    const uint8_t a = table[x[i]], b = table[x[i + 1]], c = table[x[i + 2]], d = table[x[i + 3]];
    const uint8_t e = table[x[i + 4]], f = table[x[i + 5]], g = table[x[i + 6]], h = table[x[i + 7]];
    y[i] = a, y[i + 1] = b, y[i + 2] = c, y[i + 3] = d, y[i + 4] = e, y[i + 5] = f, y[i + 6] = g, y[i + 7] = h;
  }
  for (; i < n; i++) y[i] = table[x[i]];
}

// Sign extension by one constant: (v ^ m) - m with m the sign bit, or 0 for unsigned elements.
static void unpack4(size_t n, const uint8_t *x, bool is_signed, uint8_t *y) {
  const uint8_t *restrict in = x;
  uint8_t *restrict out = y;
  const uint8_t m = is_signed ? 8 : 0;
  for (size_t i = 0; i < n / 2; i++) {
    out[2 * i] = (uint8_t)(((in[i] & 15) ^ m) - m);
    out[2 * i + 1] = (uint8_t)(((in[i] >> 4) ^ m) - m);
  }
  if (n % 2) out[n - 1] = (uint8_t)(((in[n / 2] & 15) ^ m) - m);
}

static void unpack2(size_t n, const uint8_t *x, bool is_signed, uint8_t *y) {
  const uint8_t *restrict in = x;
  uint8_t *restrict out = y;
  const uint8_t m = is_signed ? 2 : 0;
  for (size_t i = 0; i < n / 4; i++) {
    for (size_t j = 0; j < 4; j++) out[4 * i + j] = (uint8_t)((((in[i] >> (2 * j)) & 3) ^ m) - m);
  }
  for (size_t i = n / 4 * 4; i < n; i++) out[i] = (uint8_t)((((in[i / 4] >> (2 * (i % 4))) & 3) ^ m) - m);
}

static void pack4(size_t n, const uint8_t *x, uint8_t *y) {
  const uint8_t *restrict in = x;
  uint8_t *restrict out = y;
  for (size_t i = 0; i < n / 2; i++) out[i] = (uint8_t)((in[2 * i] & 15) | (in[2 * i + 1] << 4));
  if (n % 2) out[n / 2] = in[n - 1] & 15;
}

static void pack2(size_t n, const uint8_t *x, uint8_t *y) {
  const uint8_t *restrict in = x;
  uint8_t *restrict out = y;
  for (size_t i = 0; i < (n + 3) / 4; i++) {
    uint32_t byte = 0;
    for (size_t j = 0; j < 4 && 4 * i + j < n; j++) byte |= (uint32_t)(in[4 * i + j] & 3) << (2 * j);
    out[i] = (uint8_t)byte;
  }
}

extern const apus_quantize_kernels APUS_NAME(apus_quantize, APUS_LEVEL);
const apus_quantize_kernels APUS_NAME(apus_quantize, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL),
    .isa = APUS_LEVEL_ISA,
    .quantize8 = quantize8,
    .quantize16 = quantize16,
    .dequantize = {dequantize_u8, dequantize_s8, dequantize_u16, dequantize_s16, dequantize_s32},
    .requantize = requantize,
    .min_max = min_max,
    .lookup = lookup,
    .unpack4 = unpack4,
    .unpack2 = unpack2,
    .pack4 = pack4,
    .pack2 = pack2,
};
