// The kernel of one level; see elementwise_body.h for how levels include their body.
#include "../cpu/table.h"
#include "../quantize/requantize.h"
#include "apus_qdepthwise.h"

APUS_INLINE vi load_ints(const int32_t *p, size_t lanes) {
  if (lanes == VW) return vi_load(p);
  int32_t some[VW] = {0};
  memcpy(some, p, lanes * sizeof *p);
  return vi_load(some);
}

APUS_INLINE vi load_bytes(const uint8_t *p, size_t lanes, bool is_signed) {
  uint8_t some[VW] = {0};
  if (lanes < VW) {
    memcpy(some, p, lanes);
    p = some;
  }
  return is_signed ? vi_load_s8((const int8_t *)p) : vi_load_u8(p);
}

APUS_INLINE vi load_weights(const int16_t *p, size_t lanes) {
  if (lanes == VW) return vi_load_s16(p);
  int16_t some[VW] = {0};
  memcpy(some, p, lanes * sizeof *p);
  return vi_load_s16(some);
}

// The taps [begin, end) of a window along one axis that lie inside the input; `first` is the input index under tap 0.
APUS_INLINE void inside(ptrdiff_t first, size_t taps, size_t dilation, size_t size, size_t *begin, size_t *end) {
  size_t b = 0, e = taps;
  while (b < e && first + (ptrdiff_t)(b * dilation) < 0) b++;
  while (e > b && first + (ptrdiff_t)((e - 1) * dilation) >= (ptrdiff_t)size) e--;
  *begin = b;
  *end = e;
}

APUS_INLINE void store(const apus_qdepthwise_args *args, size_t place, size_t c, size_t lanes, vi sum) {
  if (args->requantizes) {
    const vf low = v_set1((float)(args->low - args->zero_point)), high = v_set1((float)(args->high - args->zero_point));
    const vi offset = vi_set1(args->zero_point);
    vf scale = v_set1(args->scale);
    if (args->scales) scale = lanes == VW ? v_load(args->scales + c) : v_load_n(args->scales + c, lanes);
    uint8_t *to = (uint8_t *)args->output + place + c, some[VW];
    vi_store_low8(lanes == VW ? to : some, v_requantize(sum, scale, offset, low, high));
    if (lanes < VW) memcpy(to, some, lanes);
  } else {
    int32_t *to = (int32_t *)args->output + place + c, some[VW];
    vi_store(lanes == VW ? to : some, sum);
    if (lanes < VW) memcpy(to, some, lanes * sizeof *to);
  }
}

// One output pixel, channels from c_begin on, whatever part of the window lies inside.
APUS_INLINE void pixel(const apus_qdepthwise_args *args, size_t y, size_t x, size_t c_begin) {
  const vi in_zero = vi_set1(args->in_zero_point);
  const ptrdiff_t first_y = (ptrdiff_t)(y * args->stride_y) - (ptrdiff_t)args->pad_top;
  const ptrdiff_t first_x = (ptrdiff_t)(x * args->stride_x) - (ptrdiff_t)args->pad_left;
  size_t i0, i1, j0, j1;
  inside(first_y, args->kernel_height, args->dilation_y, args->in_height, &i0, &i1);
  inside(first_x, args->kernel_width, args->dilation_x, args->in_width, &j0, &j1);
  for (size_t c = c_begin; c < args->channels; c += VW) {
    const size_t lanes = args->channels - c < VW ? args->channels - c : VW;
    vi sum = args->sum_bias ? load_ints(args->sum_bias + c, lanes) : vi_set1(0);
    for (size_t i = i0; i < i1; i++) {
      const size_t in_y = (size_t)(first_y + (ptrdiff_t)(i * args->dilation_y));
      for (size_t j = j0; j < j1; j++) {
        const size_t in_x = (size_t)(first_x + (ptrdiff_t)(j * args->dilation_x));
        const uint8_t *in = (const uint8_t *)args->input + in_y * args->in_row_stride + in_x * args->in_pixel_stride + c;
        const int16_t *weights = args->weights + (i * args->kernel_width + j) * args->channels + c;
        const vi value = vi_sub(load_bytes(in, lanes, args->in_is_signed), in_zero);
        sum = vi_add(sum, vi_mul(value, load_weights(weights, lanes)));
      }
    }
    store(args, y * args->out_row_stride + x * args->out_pixel_stride, c, lanes, sum);
  }
}

#ifdef PAIR_WIDTH
// Pixels [x_begin, x_end) of a row whose windows lie wholly inside, channels in blocks of PAIR_WIDTH; returns the first channel
// that is left. The taps go two by two through the multiply-add of 16-bit pairs, and the weights of a block stay at hand for
// the whole row; with a number of pairs that the compiler knows, in registers. The input's zero point comes off at the end: the sum of (a - z) w is that of a w less z times that of w.
APUS_INLINE size_t interior(const apus_qdepthwise_args *args, size_t y, size_t x_begin, size_t x_end, bool is_signed,
                            size_t pairs) {
  const size_t taps = args->kernel_height * args->kernel_width;
  size_t offsets[2 * MOST_PAIRS];
  for (size_t t = 0; t < 2 * pairs; t++) {
    const size_t tap = t < taps ? t : taps - 1;
    offsets[t] = tap / args->kernel_width * args->dilation_y * args->in_row_stride +
                 tap % args->kernel_width * args->dilation_x * args->in_pixel_stride;
  }
  const uint8_t *row = (const uint8_t *)args->input + (y * args->stride_y - args->pad_top) * args->in_row_stride;
  size_t c = 0;
  for (; c + PAIR_WIDTH <= args->channels; c += PAIR_WIDTH) {
    pair weights[MOST_PAIRS][2];
    vi base[2];
    for (int half = 0; half < 2; half++) {
      vi total = vi_set1(0);
      for (size_t t = 0; t < taps; t++)
        total = vi_add(total, vi_load_s16(args->weights + t * args->channels + c + (size_t)half * VW));
      total = vi_mul(total, vi_set1(args->in_zero_point));
      base[half] = vi_sub(args->sum_bias ? vi_load(args->sum_bias + c + (size_t)half * VW) : vi_set1(0), total);
    }
    for (size_t p = 0; p < pairs; p++) {
      const pair first = pair_load(args->weights + 2 * p * args->channels + c);
      const pair second = 2 * p + 1 < taps ? pair_load(args->weights + (2 * p + 1) * args->channels + c) : pair_zero();
      weights[p][0] = pair_low(first, second);
      weights[p][1] = pair_high(first, second);
    }
    for (size_t x = x_begin; x < x_end; x++) {
      const uint8_t *in = row + (x * args->stride_x - args->pad_left) * args->in_pixel_stride + c;
      vi low = vi_set1(0), high = vi_set1(0);
      for (size_t p = 0; p < pairs; p++) {
        const pair first = pair_widen(in + offsets[2 * p], is_signed), second = pair_widen(in + offsets[2 * p + 1], is_signed);
        low = pair_multiply(low, pair_low(first, second), weights[p][0]);
        high = pair_multiply(high, pair_high(first, second), weights[p][1]);
      }
      const size_t place = y * args->out_row_stride + x * args->out_pixel_stride;
      store(args, place, c, VW, vi_add(base[0], pair_first(low, high)));
      store(args, place, c + VW, VW, vi_add(base[1], pair_second(low, high)));
    }
  }
  return c;
}
#endif

#ifdef DOTS
#include "qdepthwise_dots.h"
#endif

static void run(const apus_qdepthwise_args *args, size_t row_begin, size_t row_end) {
#ifdef DOTS
  if (run_dots(args, row_begin, row_end)) return;
#endif
  for (size_t y = row_begin; y < row_end; y++) {
    size_t x_begin = 0, x_end = 0, c_begin = 0;
#ifdef PAIR_WIDTH
    const size_t reach_y = args->kernel_height ? (args->kernel_height - 1) * args->dilation_y : 0;
    const size_t reach_x = args->kernel_width ? (args->kernel_width - 1) * args->dilation_x : 0;
    const size_t taps = args->kernel_height * args->kernel_width, first_y = y * args->stride_y;
    if (taps > 0 && taps <= 2 * MOST_PAIRS && args->channels >= PAIR_WIDTH && first_y >= args->pad_top &&
        first_y - args->pad_top + reach_y < args->in_height && args->in_width > reach_x) {
      // Windows begin at x * stride - pad, from 0 to in_width - 1 - reach.
      x_begin = (args->pad_left + args->stride_x - 1) / args->stride_x;
      x_end = (args->in_width - 1 - reach_x + args->pad_left) / args->stride_x + 1;
      if (x_end > args->out_width) x_end = args->out_width;
      if (x_begin < x_end) {
        const size_t pairs = (taps + 1) / 2;
        if (args->in_is_signed) c_begin = interior(args, y, x_begin, x_end, true, pairs);
        else if (pairs == 5) c_begin = interior(args, y, x_begin, x_end, false, 5);
        else c_begin = interior(args, y, x_begin, x_end, false, pairs);
      } else {
        x_begin = x_end = 0;
      }
    }
#endif
    for (size_t x = 0; x < args->out_width; x++) pixel(args, y, x, x >= x_begin && x < x_end ? c_begin : 0);
  }
}

extern const apus_qdepthwise_kernels APUS_NAME(apus_qdepthwise, APUS_LEVEL);
const apus_qdepthwise_kernels APUS_NAME(apus_qdepthwise, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .run = run};
