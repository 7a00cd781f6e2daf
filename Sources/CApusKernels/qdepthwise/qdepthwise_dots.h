// The parts of the depthwise kernel by four-byte products (qdepthwise_dot.h) that do not depend on the width, and the widths. The
// including file has included qdepthwise_body.h's vectors and defines DPBUSD (the suffix of the instruction's intrinsics: 256-bit
// ones, and 128-bit ones) and, where it may use 512-bit vectors, DOT_WIDE.
#define DOT_MOST_GROUPS 16
#define DOT_MOST_TAPS (4 * DOT_MOST_GROUPS)

typedef struct {
  size_t share;  ///< outputs that are made of the same interleaved pixels: 2 where windows move by one tap, else 1
  size_t groups; ///< of four pixels, that one row of their windows takes
  bool requantizes; ///< by saturating instructions
} dot_shape;

// All in the order of channels that interleaving gives.
typedef struct {
  _Alignas(64) int32_t base[64];
  _Alignas(64) float scales[64];
  _Alignas(64) int8_t weights[DOT_MOST_GROUPS * 2 * 4 * 64];
} dot_parameters;

typedef struct {
  dot_parameters parameters;
  _Alignas(64) uint8_t window[DOT_MOST_GROUPS * 4 * 64];
} dot_memory;

#ifdef DOT_WIDE
#define W 64
#define vec __m512i
#define vec_load(p) _mm512_loadu_si512(p)
#define vec_store(p, x) _mm512_storeu_si512(p, x)
#define vec_xor _mm512_xor_si512
#define vec_set8 _mm512_set1_epi8
#define vec_set16 _mm512_set1_epi16
#define vec_low8 _mm512_unpacklo_epi8
#define vec_high8 _mm512_unpackhi_epi8
#define vec_low16 _mm512_unpacklo_epi16
#define vec_high16 _mm512_unpackhi_epi16
#define vec_dot _mm512_dpbusd_epi32
#define vec_round(x, p) _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(x), _mm512_loadu_ps(p)))
#define vec_narrow32 _mm512_packs_epi32
#define vec_adds16 _mm512_adds_epi16
#define vec_narrow_u8 _mm512_packus_epi16
#define vec_narrow_s8 _mm512_packs_epi16
#include "qdepthwise_dot.h"
#endif

#define W 32
#define vec __m256i
#define vec_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define vec_store(p, x) _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define vec_xor _mm256_xor_si256
#define vec_set8 _mm256_set1_epi8
#define vec_set16 _mm256_set1_epi16
#define vec_low8 _mm256_unpacklo_epi8
#define vec_high8 _mm256_unpackhi_epi8
#define vec_low16 _mm256_unpacklo_epi16
#define vec_high16 _mm256_unpackhi_epi16
#define vec_dot DPBUSD256
#define vec_round(x, p) _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(x), _mm256_loadu_ps(p)))
#define vec_narrow32 _mm256_packs_epi32
#define vec_adds16 _mm256_adds_epi16
#define vec_narrow_u8 _mm256_packus_epi16
#define vec_narrow_s8 _mm256_packs_epi16
#include "qdepthwise_dot.h"

#define W 16
#define vec __m128i
#define vec_load(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define vec_store(p, x) _mm_storeu_si128((__m128i *)(void *)(p), x)
#define vec_xor _mm_xor_si128
#define vec_set8 _mm_set1_epi8
#define vec_set16 _mm_set1_epi16
#define vec_low8 _mm_unpacklo_epi8
#define vec_high8 _mm_unpackhi_epi8
#define vec_low16 _mm_unpacklo_epi16
#define vec_high16 _mm_unpackhi_epi16
#define vec_dot DPBUSD128
#define vec_round(x, p) _mm_cvtps_epi32(_mm_mul_ps(_mm_cvtepi32_ps(x), _mm_loadu_ps(p)))
#define vec_narrow32 _mm_packs_epi32
#define vec_adds16 _mm_adds_epi16
#define vec_narrow_u8 _mm_packus_epi16
#define vec_narrow_s8 _mm_packs_epi16
#include "qdepthwise_dot.h"

// Whether the saturating instructions give what the contract says: the range of an 8-bit type, and scales below 1 in magnitude
// (or NaN), so that no product passes the range of integers.
static bool dot_requantizes(const apus_qdepthwise_args *args) {
  const bool is_byte = (args->low == 0 && args->high == 255) || (args->low == -128 && args->high == 127);
  if (!args->requantizes || !is_byte || args->zero_point < args->low || args->zero_point > args->high) return false;
  if (!args->scales) return !(args->scale >= 1 || args->scale <= -1);
  bool is_large = false;
  for (size_t c = 0; c < args->channels; c++) is_large |= args->scales[c] >= 1 || args->scales[c] <= -1;
  return !is_large;
}

// Does the whole work; false where these kernels cannot: windows too large, weights that are no s8, no channels.
static bool run_dots(const apus_qdepthwise_args *args, size_t row_begin, size_t row_end) {
  dot_shape shape = {.share = args->stride_x == args->dilation_x ? 2 : 1};
  shape.groups = (args->kernel_width + shape.share - 1 + 3) / 4;
  const size_t taps = args->kernel_height * args->kernel_width;
  if (taps == 0 || shape.groups > DOT_MOST_GROUPS || args->kernel_height > DOT_MOST_GROUPS / shape.groups) return false;
  int32_t outside = 0;
  for (size_t i = 0; i < taps * args->channels; i++) outside |= (args->weights[i] + 128) & ~255;
  if (outside) return false;
  shape.requantizes = dot_requantizes(args);
  dot_memory memory;
  // Rows in portions that stay in the second-level cache while one block of channels after the other is taken.
  const size_t row_bytes = args->in_width * args->channels * args->stride_y;
  size_t step = row_bytes ? ((size_t)256 << 10) / row_bytes : row_end - row_begin;
  if (step < args->kernel_height * args->dilation_y) step = args->kernel_height * args->dilation_y;
  for (size_t y = row_begin; y < row_end; y += step) {
    const size_t end = row_end - y < step ? row_end : y + step;
    size_t c = 0;
    while (c < args->channels) {
      const size_t left = args->channels - c;
#ifdef DOT_WIDE
      if (left >= 64) {
        block_64(args, &shape, y, end, c, 64, &memory);
        c += 64;
        continue;
      }
#endif
      if (left >= 32) {
        block_32(args, &shape, y, end, c, 32, &memory);
        c += 32;
      } else {
        const size_t channels = left < 16 ? left : 16;
        block_16(args, &shape, y, end, c, channels, &memory);
        c += channels;
      }
    }
  }
  return true;
}
