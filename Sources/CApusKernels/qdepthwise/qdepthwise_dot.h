// The depthwise kernel by the instruction that multiplies four bytes with four others and adds: four neighbouring pixels are
// interleaved byte by byte, so that each channel's four lie side by side.
//
// Included once for each width: W bytes (16, 32 or 64 channels at once) of the type `vec`, with the operations
//
//     vec_load(p) vec_store(p, x) vec_xor(a, b) vec_set8(x) vec_set16(x)
//     vec_low8(a, b) vec_high8(a, b) vec_low16(a, b) vec_high16(a, b)     interleave within 128 bits
//     vec_dot(sum, u8, s8)
//     vec_round(sum, scales)                                              round(float(sum) * scales) as integers
//     vec_narrow32(a, b) vec_adds16(a, b) vec_narrow_u8(a, b) vec_narrow_s8(a, b)   saturating, within 128 bits
//
// and leaves none of these names behind. What it defines is called NAME_W, by DOT(NAME).
//
// Interleaving leaves channels 16 L + 4 v .. 16 L + 4 v + 3 in lane L (of 128 bits) of vector v; narrowing brings them back.
#define DOT_NAME(NAME, WIDTH) NAME##_##WIDTH
#define DOT_OF(NAME, WIDTH) DOT_NAME(NAME, WIDTH)
#define DOT(NAME) DOT_OF(NAME, W)

// The parameters of W channels from c on, of which `channels` exist.
static void DOT(fill)(const apus_qdepthwise_args *args, const dot_shape *shape, size_t c, size_t channels,
                      dot_parameters *parameters) {
  const size_t height = args->kernel_height, width = args->kernel_width;
  _Alignas(64) int8_t taps[DOT_MOST_TAPS + 1][W]; // then zeros
  for (size_t t = 0; t < height * width; t++) {
    const int16_t *from = args->weights + t * args->channels + c;
    if (channels < W) memset(taps[t], 0, W);
    for (size_t i = 0; i < channels; i++) taps[t][i] = (int8_t)from[i];
  }
  memset(taps[DOT_MOST_TAPS], 0, W);
  // Of output `o` of a unit, row y, group g: the weights of pixels 4 g .. 4 g + 3 of the span.
  vec totals[4];
  for (int v = 0; v < 4; v++) totals[v] = vec_set8(0);
  int8_t *to = parameters->weights;
  for (size_t y = 0; y < height; y++) {
    for (size_t g = 0; g < shape->groups; g++) {
      for (size_t o = 0; o < shape->share; o++, to += 4 * W) {
        vec r[4];
        for (size_t p = 0; p < 4; p++) {
          const size_t x = 4 * g + p - o;
          r[p] = vec_load(taps[x < width ? y * width + x : DOT_MOST_TAPS]);
        }
        const vec ab = vec_low8(r[0], r[1]), ab2 = vec_high8(r[0], r[1]), de = vec_low8(r[2], r[3]), de2 = vec_high8(r[2], r[3]);
        const vec w[4] = {vec_low16(ab, de), vec_high16(ab, de), vec_low16(ab2, de2), vec_high16(ab2, de2)};
        for (int v = 0; v < 4; v++) {
          vec_store(to + v * W, w[v]);
          if (o == 0) totals[v] = vec_dot(totals[v], vec_set8(1), w[v]);
        }
      }
    }
  }
  const uint32_t zero = (uint32_t)args->in_zero_point + (args->in_is_signed ? 128 : 0);
  int32_t sums[W];
  for (int v = 0; v < 4; v++) vec_store(sums + v * (W / 4), totals[v]);
  for (size_t i = 0; i < W; i++) {
    const size_t place = i % 16 / 4 * (W / 4) + i / 16 * 4 + i % 4, from = c + (i < channels ? i : 0);
    const uint32_t bias = args->sum_bias ? (uint32_t)args->sum_bias[from] : 0;
    parameters->base[place] = (int32_t)(bias - zero * (uint32_t)sums[place]);
    parameters->scales[place] = args->scales ? args->scales[from] : args->scale;
  }
}

// One output of `channels` <= W channels.
APUS_INLINE void DOT(finish)(const apus_qdepthwise_args *args, const dot_shape *shape, const dot_parameters *parameters,
                             const vec *sums, size_t place, size_t c, size_t channels) {
  if (shape->requantizes) {
    vec s[4];
    for (int v = 0; v < 4; v++) s[v] = vec_round(sums[v], parameters->scales + v * (W / 4));
    const vec zero_point = vec_set16((int16_t)args->zero_point);
    const vec first = vec_adds16(vec_narrow32(s[0], s[1]), zero_point);
    const vec second = vec_adds16(vec_narrow32(s[2], s[3]), zero_point);
    const vec codes = args->low < 0 ? vec_narrow_s8(first, second) : vec_narrow_u8(first, second);
    uint8_t *to = (uint8_t *)args->output + place + c, some[W];
    vec_store(channels == W ? to : some, codes);
    if (channels < W) memcpy(to, some, channels);
    return;
  }
  _Alignas(64) int32_t some[W], ordered[W];
  for (int v = 0; v < 4; v++) vec_store(some + v * (W / 4), sums[v]);
  for (size_t i = 0; i < W; i++) ordered[i] = some[i % 16 / 4 * (W / 4) + i / 16 * 4 + i % 4];
  for (size_t i = 0; i < channels; i += VW) store(args, place, c + i, channels - i < VW ? channels - i : VW, vi_load(ordered + i));
}

// `units` times `share` outputs of a row, from x on; `count` of them are stored. Pixel p of row i of the first one's window lies
// at in + i * row_step + p * pixel_step; each unit's window begins unit_step further.
APUS_INLINE void DOT(outputs)(const apus_qdepthwise_args *args, const dot_shape *shape, const dot_parameters *parameters,
                              const uint8_t *in, size_t row_step, size_t pixel_step, size_t unit_step, int units, int share,
                              size_t groups, size_t y, size_t x, size_t count, size_t c, size_t channels) {
  const vec flip = vec_set8((int8_t)(args->in_is_signed ? 0x80 : 0));
  vec sums[4][4];
#pragma clang loop unroll(full)
  for (int o = 0; o < units * share; o++) {
#pragma clang loop unroll(full)
    for (int v = 0; v < 4; v++) sums[o][v] = vec_load(parameters->base + v * (W / 4));
  }
  const int8_t *weights = parameters->weights;
  for (size_t i = 0; i < args->kernel_height; i++) {
    for (size_t g = 0; g < groups; g++, weights += 4 * W * share) {
      vec pixels[2][4];
#pragma clang loop unroll(full)
      for (int u = 0; u < units; u++) {
        const uint8_t *from = in + i * row_step + 4 * g * pixel_step + (size_t)u * unit_step;
        const vec a = vec_xor(vec_load(from), flip), b = vec_xor(vec_load(from + pixel_step), flip);
        const vec d = vec_xor(vec_load(from + 2 * pixel_step), flip), e = vec_xor(vec_load(from + 3 * pixel_step), flip);
        const vec ab = vec_low8(a, b), ab2 = vec_high8(a, b), de = vec_low8(d, e), de2 = vec_high8(d, e);
        pixels[u][0] = vec_low16(ab, de);
        pixels[u][1] = vec_high16(ab, de);
        pixels[u][2] = vec_low16(ab2, de2);
        pixels[u][3] = vec_high16(ab2, de2);
      }
#pragma clang loop unroll(full)
      for (int o = 0; o < share; o++) {
#pragma clang loop unroll(full)
        for (int v = 0; v < 4; v++) {
          const vec w = vec_load(weights + (o * 4 + v) * W);
#pragma clang loop unroll(full)
          for (int u = 0; u < units; u++) sums[u * share + o][v] = vec_dot(sums[u * share + o][v], pixels[u][v], w);
        }
      }
    }
  }
#pragma clang loop unroll(full)
  for (int o = 0; o < units * share; o++) {
    if ((size_t)o < count)
      DOT(finish)(args, shape, parameters, sums[o], y * args->out_row_stride + (x + (size_t)o) * args->out_pixel_stride, c, channels);
  }
}

// Copies the windows of one unit, what lies outside of the input replaced by its zero point.
static void DOT(gather)(const apus_qdepthwise_args *args, const dot_shape *shape, ptrdiff_t first_y, ptrdiff_t first_x, size_t c,
                        size_t channels, uint8_t *to) {
  const uint8_t zero = (uint8_t)args->in_zero_point;
  for (size_t i = 0; i < args->kernel_height; i++) {
    const ptrdiff_t y = first_y + (ptrdiff_t)(i * args->dilation_y);
    for (size_t p = 0; p < 4 * shape->groups; p++, to += W) {
      const ptrdiff_t x = first_x + (ptrdiff_t)(p * args->dilation_x);
      if (y < 0 || y >= (ptrdiff_t)args->in_height || x < 0 || x >= (ptrdiff_t)args->in_width) {
        memset(to, zero, W);
        continue;
      }
      const uint8_t *from = (const uint8_t *)args->input + (size_t)y * args->in_row_stride + (size_t)x * args->in_pixel_stride + c;
      if (channels == W) vec_store(to, vec_load(from));
      else memcpy(to, from, channels);
    }
  }
}

// All outputs of the rows, W channels (or fewer, in the end) from c on. The constants multiply the code that matters most.
APUS_INLINE void DOT(block_of)(const apus_qdepthwise_args *args, const dot_shape *shape, size_t row_begin, size_t row_end, size_t c,
                               size_t channels, int share, size_t groups, dot_memory *memory) {
  DOT(fill)(args, shape, c, channels, &memory->parameters);
  if (channels < W) memset(memory->window, 0, sizeof memory->window);
  const size_t reach_y = (args->kernel_height - 1) * args->dilation_y, span = 4 * groups;
  const size_t reach_x = (span - 1) * args->dilation_x, pixel_step = args->dilation_x * args->in_pixel_stride;
  const size_t unit_step = (size_t)share * args->stride_x * args->in_pixel_stride;
  for (size_t y = row_begin; y < row_end; y++) {
    const ptrdiff_t first_y = (ptrdiff_t)(y * args->stride_y) - (ptrdiff_t)args->pad_top;
    const bool has_rows = first_y >= 0 && (size_t)first_y + reach_y < args->in_height;
    size_t x = 0;
    while (x < args->out_width) {
      const ptrdiff_t first_x = (ptrdiff_t)(x * args->stride_x) - (ptrdiff_t)args->pad_left;
      const size_t left = args->out_width - x;
      const bool is_inside = has_rows && channels == W && first_x >= 0 && (size_t)first_x + reach_x < args->in_width;
      const uint8_t *in = (const uint8_t *)args->input + first_y * (ptrdiff_t)args->in_row_stride +
                          first_x * (ptrdiff_t)args->in_pixel_stride + (ptrdiff_t)c;
      if (is_inside && left >= 2 * (size_t)share &&
          (size_t)first_x + (size_t)share * args->stride_x + reach_x < args->in_width) {
        DOT(outputs)(args, shape, &memory->parameters, in, args->dilation_y * args->in_row_stride, pixel_step, unit_step, 2, share,
                     groups, y, x, 2 * (size_t)share, c, W);
        x += 2 * (size_t)share;
        continue;
      }
      const size_t count = left < (size_t)share ? left : (size_t)share;
      if (is_inside) {
        DOT(outputs)(args, shape, &memory->parameters, in, args->dilation_y * args->in_row_stride, pixel_step, unit_step, 1, share,
                     groups, y, x, count, c, W);
      } else {
        DOT(gather)(args, shape, first_y, first_x, c, channels, memory->window);
        DOT(outputs)(args, shape, &memory->parameters, memory->window, span * W, W, 0, 1, share, groups, y, x, count, c, channels);
      }
      x += count;
    }
  }
}

static void DOT(block)(const apus_qdepthwise_args *args, const dot_shape *shape, size_t row_begin, size_t row_end, size_t c,
                       size_t channels, dot_memory *memory) {
  if (shape->share == 2 && shape->groups == 1) DOT(block_of)(args, shape, row_begin, row_end, c, channels, 2, 1, memory);
  else if (shape->share == 2) DOT(block_of)(args, shape, row_begin, row_end, c, channels, 2, shape->groups, memory);
  else DOT(block_of)(args, shape, row_begin, row_end, c, channels, 1, shape->groups, memory);
}

#undef W
#undef vec
#undef vec_load
#undef vec_store
#undef vec_xor
#undef vec_set8
#undef vec_set16
#undef vec_low8
#undef vec_high8
#undef vec_low16
#undef vec_high16
#undef vec_dot
#undef vec_round
#undef vec_narrow32
#undef vec_adds16
#undef vec_narrow_u8
#undef vec_narrow_s8
#undef DOT
#undef DOT_OF
#undef DOT_NAME
