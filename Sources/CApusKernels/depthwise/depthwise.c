// The driver: hands out rows, or finds the pixels whose taps all lie inside the input and hands out tiles.
#include <stdbool.h>

#include "depthwise_tile.h"

static const apus_depthwise_kernel kernels[] = {
#define APUS_DEPTHWISE_KERNEL(NAME, ISA, CHANNELS) {#NAME, ISA, CHANNELS, &apus_depthwise_ops_##NAME},
#include "depthwise.def"
#undef APUS_DEPTHWISE_KERNEL
};

size_t apus_depthwise_kernel_count(void) { return sizeof kernels / sizeof *kernels; }

const apus_depthwise_kernel *apus_depthwise_kernel_at(size_t index) {
  return index < apus_depthwise_kernel_count() ? &kernels[index] : NULL;
}

const apus_depthwise_kernel *apus_depthwise_select(uint32_t levels) {
  size_t i = 0;
  while (i + 1 < apus_depthwise_kernel_count() && !(levels >> kernels[i].isa & 1)) i++;
  return &kernels[i];
}

void apus_depthwise_pack_weights(size_t channels, size_t taps, const float *weights, float *packed) {
  for (size_t c = 0; c < channels; c++)
    for (size_t t = 0; t < taps; t++) packed[t * channels + c] = weights[c * taps + t];
}

/// Floats that are computed before the epilogue's function is called on them: 128 KiB.
enum { FUNCTION_FLOATS = 1 << 15 };

/// The taps [begin, end) of one axis that lie inside the input, for one output position.
typedef struct span {
  size_t begin, end;
} span;

static span taps_inside(size_t position, size_t stride, size_t pad, size_t dilation, size_t taps, size_t input) {
  const size_t at = position * stride; // of tap 0, `pad` too far
  const size_t begin = at >= pad ? 0 : (pad - at + dilation - 1) / dilation;
  const size_t end = at >= pad + input ? 0 : (pad + input - at + dilation - 1) / dilation;
  const size_t last = end < taps ? end : taps;
  return (span){begin < last ? begin : last, last};
}

/// The output positions [begin, end) of one axis all of whose taps lie inside the input; empty spans lie at 0.
static span whole_positions(size_t positions, size_t stride, size_t pad, size_t dilation, size_t taps, size_t input) {
  const size_t reach = taps ? (taps - 1) * dilation + 1 : 0;
  const size_t begin = (pad + stride - 1) / stride;
  size_t end = pad + input >= reach ? (pad + input - reach) / stride + 1 : 0;
  if (end > positions) end = positions;
  return begin < end ? (span){begin, end} : (span){0, 0};
}

typedef struct row {
  const apus_depthwise_args *args;
  const apus_depthwise_ops *ops;
  size_t y, channel, channels, vectors;
  span high;
} row;

static void run_tile(const row *r, size_t x, size_t pixels, span wide) {
  const apus_depthwise_args *a = r->args;
  const size_t pixel = r->y * a->out_width + x;
  const bool empty = r->high.begin == r->high.end || wide.begin == wide.end;
  // The first tap lies inside the input, so the padding can be taken off without going below 0.
  const size_t first = empty ? 0
                             : (r->y * a->stride_y + r->high.begin * a->dilation_y - a->pad_top) * a->in_row_stride +
                                   (x * a->stride_x + wide.begin * a->dilation_x - a->pad_left) * a->in_pixel_stride;
  const apus_depthwise_tile tile = {
      .input = a->input + first + r->channel,
      .tap_row = a->dilation_y * a->in_row_stride,
      .tap = a->dilation_x * a->in_pixel_stride,
      .pixel = a->stride_x * a->in_pixel_stride,
      .weights = a->weights + (r->high.begin * a->kernel_width + wide.begin) * a->channels + r->channel,
      .weights_row = a->kernel_width * a->channels,
      .weights_tap = a->channels,
      .taps_high = empty ? 0 : r->high.end - r->high.begin,
      .taps_wide = wide.end - wide.begin,
      .output = a->output + r->y * a->out_row_stride + x * a->out_pixel_stride + r->channel,
      .output_pixel = a->out_pixel_stride,
      .bias = a->epilogue.bias ? a->epilogue.bias + r->channel : NULL,
      .residual = a->epilogue.residual ? a->epilogue.residual + pixel * a->epilogue.residual_stride + r->channel : NULL,
      .channels = r->channels,
      .epilogue = &a->epilogue,
  };
  (pixels == 1 ? r->ops->one : r->ops->many)[r->vectors - 1](&tile);
}

/// Rows [row_begin, row_end) of the channels of `r`, by tiles.
static void run_tiles(row r, size_t row_begin, size_t row_end) {
  const apus_depthwise_args *a = r.args;
  const size_t pixels = r.ops->pixels;
  const span whole = whole_positions(a->out_width, a->stride_x, a->pad_left, a->dilation_x, a->kernel_width, a->in_width);
  // The last tile of a row reaches back rather than leave single pixels, unless a residual may be the output itself, which
  // the first result then has replaced.
  const bool twice = a->epilogue.residual == NULL && whole.end - whole.begin >= pixels;
  for (r.y = row_begin; r.y < row_end; r.y++) {
    r.high = taps_inside(r.y, a->stride_y, a->pad_top, a->dilation_y, a->kernel_height, a->in_height);
    size_t x = 0;
    while (x < a->out_width) {
      if (x < whole.begin || x >= whole.end) {
        run_tile(&r, x, 1, taps_inside(x, a->stride_x, a->pad_left, a->dilation_x, a->kernel_width, a->in_width));
        x += 1;
        continue;
      }
      const bool reaches_back = twice && whole.end - x < pixels;
      const size_t count = reaches_back || whole.end - x >= pixels ? pixels : 1;
      if (reaches_back) x = whole.end - pixels;
      run_tile(&r, x, count, (span){0, a->kernel_width});
      x += count;
    }
  }
}

/// The function that computes whole rows by windows such as these; NULL if there is none.
static apus_depthwise_row_function row_function(const apus_depthwise_ops *ops, const apus_depthwise_args *a) {
  if ((a->kernel_width != 3 && a->kernel_width != 5) || a->dilation_x != 1 || a->stride_x > 2) return NULL;
  return ops->rows[(a->kernel_width - 3) / 2][a->stride_x - 1];
}

static void run_rows(const apus_depthwise_kernel *kernel, const apus_depthwise_args *a, size_t row_begin, size_t row_end,
                     size_t channel_begin, size_t channel_end) {
  const apus_depthwise_ops *ops = kernel->ops;
  const apus_depthwise_row_function function = row_function(ops, a);
  // Channels outermost: a window's rows of a few channels stay in L1 from one output row to the next.
  size_t c = channel_begin;
  for (; function && c + ops->lanes <= channel_end; c += ops->lanes) {
    for (size_t y = row_begin; y < row_end; y++) {
      const span high = taps_inside(y, a->stride_y, a->pad_top, a->dilation_y, a->kernel_height, a->in_height);
      const bool empty = high.begin == high.end;
      const size_t first = empty ? 0 : y * a->stride_y + high.begin * a->dilation_y - a->pad_top;
      const apus_epilogue *e = &a->epilogue;
      const apus_depthwise_row row = {
          .input = a->input + first * a->in_row_stride + c,
          .tap_row = a->dilation_y * a->in_row_stride,
          .pixel = a->in_pixel_stride,
          .width = a->in_width,
          .pad = a->pad_left,
          .weights = a->weights + high.begin * a->kernel_width * a->channels + c,
          .weights_row = a->kernel_width * a->channels,
          .weights_tap = a->channels,
          .taps_high = high.end - high.begin,
          .output = a->output + y * a->out_row_stride + c,
          .output_pixel = a->out_pixel_stride,
          .output_width = a->out_width,
          .bias = e->bias ? e->bias + c : NULL,
          .residual = e->residual ? e->residual + y * a->out_width * e->residual_stride + c : NULL,
          .epilogue = e,
      };
      function(&row);
    }
  }
  for (; c < channel_end; c += kernel->channel_tile) {
    const size_t left = channel_end - c, channels = left < kernel->channel_tile ? left : kernel->channel_tile;
    run_tiles((row){a, ops, 0, c, channels, (channels + ops->lanes - 1) / ops->lanes, {0, 0}}, row_begin, row_end);
  }
}

/// Calls the epilogue's function on finished rows, in pieces as long as memory allows.
static void apply_function(const apus_depthwise_args *a, size_t row_begin, size_t row_end, size_t channel_begin,
                           size_t channel_end) {
  const size_t channels = channel_end - channel_begin;
  const bool dense = channels == a->out_pixel_stride;
  for (size_t y = row_begin; y < row_end; y++) {
    float *output = a->output + y * a->out_row_stride + channel_begin;
    if (dense) {
      a->epilogue.function(output, a->out_width * channels, a->epilogue.params);
    } else {
      for (size_t x = 0; x < a->out_width; x++)
        a->epilogue.function(output + x * a->out_pixel_stride, channels, a->epilogue.params);
    }
  }
}

void apus_depthwise_run(const apus_depthwise_kernel *kernel, const apus_depthwise_args *args, size_t row_begin,
                        size_t row_end, size_t channel_begin, size_t channel_end) {
  if (args->epilogue.activation != APUS_ACTIVATION_FUNCTION) {
    run_rows(kernel, args, row_begin, row_end, channel_begin, channel_end);
    return;
  }
  if (channel_begin >= channel_end || args->out_width == 0) return;
  // As many rows at once as stay in L2 until the function comes to them.
  const size_t row_floats = args->out_width * (channel_end - channel_begin);
  const size_t rows = row_floats < FUNCTION_FLOATS ? FUNCTION_FLOATS / row_floats : 1;
  for (size_t y = row_begin; y < row_end; y += rows) {
    const size_t end = row_end - y < rows ? row_end : y + rows;
    run_rows(kernel, args, y, end, channel_begin, channel_end);
    apply_function(args, y, end, channel_begin, channel_end);
  }
}
