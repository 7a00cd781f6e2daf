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

static void run(const apus_qdepthwise_args *args, size_t row_begin, size_t row_end) {
  const vi in_zero = vi_set1(args->in_zero_point);
  const vf low = v_set1((float)args->low), high = v_set1((float)args->high), offset = v_set1((float)args->zero_point);
  for (size_t y = row_begin; y < row_end; y++) {
    const ptrdiff_t first_y = (ptrdiff_t)(y * args->stride_y) - (ptrdiff_t)args->pad_top;
    size_t i0, i1;
    inside(first_y, args->kernel_height, args->dilation_y, args->in_height, &i0, &i1);
    for (size_t x = 0; x < args->out_width; x++) {
      const ptrdiff_t first_x = (ptrdiff_t)(x * args->stride_x) - (ptrdiff_t)args->pad_left;
      size_t j0, j1;
      inside(first_x, args->kernel_width, args->dilation_x, args->in_width, &j0, &j1);
      const size_t place = y * args->out_row_stride + x * args->out_pixel_stride;
      for (size_t c = 0; c < args->channels; c += VW) {
        const size_t lanes = args->channels - c < VW ? args->channels - c : VW;
        vi sum = args->sum_bias ? load_ints(args->sum_bias + c, lanes) : vi_set1(0);
        for (size_t i = i0; i < i1; i++) {
          const size_t in_y = (size_t)(first_y + (ptrdiff_t)(i * args->dilation_y));
          for (size_t j = j0; j < j1; j++) {
            const size_t in_x = (size_t)(first_x + (ptrdiff_t)(j * args->dilation_x));
            const uint8_t *in =
                (const uint8_t *)args->input + in_y * args->in_row_stride + in_x * args->in_pixel_stride + c;
            const int16_t *weights = args->weights + (i * args->kernel_width + j) * args->channels + c;
            const vi value = vi_sub(load_bytes(in, lanes, args->in_is_signed), in_zero);
            sum = vi_add(sum, vi_mul(value, load_weights(weights, lanes)));
          }
        }
        if (args->requantizes) {
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
    }
  }
}

extern const apus_qdepthwise_kernels APUS_NAME(apus_qdepthwise, APUS_LEVEL);
const apus_qdepthwise_kernels APUS_NAME(apus_qdepthwise, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .run = run};
