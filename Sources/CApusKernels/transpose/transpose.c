// Square blocks that fit a handful of vector registers, inside strips that fit L1.
//
// Vector extensions, not intrinsics: 16-byte shuffles are in the baseline of every target (SSE2, NEON), and moving
// data is limited by memory before it is by the width of a register.
#include "apus_transpose.h"

#include <stdint.h>
#include <string.h>

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t words8 __attribute__((vector_size(16)));
typedef uint32_t words4 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

// The caller's elements: of any alignment, and whatever type they really have.
typedef uint8_t __attribute__((may_alias)) element_1;
typedef uint16_t __attribute__((may_alias, aligned(1))) element_2;
typedef uint32_t __attribute__((may_alias, aligned(1))) element_4;
typedef uint64_t __attribute__((may_alias, aligned(1))) element_8;

#define LOW16(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH16(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOW8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH2(a, b) __builtin_shufflevector(a, b, 1, 3)

// Interleaving row i with row i + n/2, log2(n) times, transposes an n x n block: each pass moves the top bit of the
// row number to the bottom of the column number.
#define DEFINE_BLOCK(name, element, vector, n, passes, LOW, HIGH)                                                      \
  static inline void name(const element *src, size_t src_stride, element *dst, size_t dst_stride) {                    \
    vector a[n], b[n];                                                                                                 \
    _Pragma("clang loop unroll(full)") for (size_t i = 0; i < n; i++) memcpy(&a[i], src + i * src_stride, 16);         \
    _Pragma("clang loop unroll(full)") for (int pass = 0; pass < passes; pass++) {                                     \
      _Pragma("clang loop unroll(full)") for (size_t i = 0; i < n / 2; i++) {                                          \
        b[2 * i] = LOW(a[i], a[i + n / 2]);                                                                            \
        b[2 * i + 1] = HIGH(a[i], a[i + n / 2]);                                                                       \
      }                                                                                                                \
      memcpy(a, b, sizeof a);                                                                                          \
    }                                                                                                                  \
    _Pragma("clang loop unroll(full)") for (size_t i = 0; i < n; i++) memcpy(dst + i * dst_stride, &a[i], 16);         \
  }
DEFINE_BLOCK(block_1, element_1, bytes16, 16, 4, LOW16, HIGH16)
DEFINE_BLOCK(block_2, element_2, words8, 8, 3, LOW8, HIGH8)
DEFINE_BLOCK(block_4, element_4, words4, 4, 2, LOW4, HIGH4)
DEFINE_BLOCK(block_8, element_8, words2, 2, 1, LOW2, HIGH2)

// Strips of 64 bytes of source columns: whole lines are read, and each destination row is written in runs that grow
// along the source rows.
#define DEFINE_MATRIX(name, element, n, block)                                                                         \
  static void name(size_t rows, size_t cols, const element *src, size_t src_stride, element *dst, size_t dst_stride) { \
    const size_t strip = 64 / sizeof(element);                                                                         \
    for (size_t first = 0; first < cols; first += strip) {                                                             \
      const size_t end = cols - first < strip ? cols : first + strip;                                                  \
      size_t r = 0;                                                                                                    \
      for (; rows - r >= n; r += n) {                                                                                  \
        size_t c = first;                                                                                              \
        for (; end - c >= n; c += n) block(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride);\
        for (; c < end; c++)                                                                                           \
          for (size_t i = r; i < r + n; i++)                                                                           \
            dst[c * dst_stride + i] = src[i * src_stride + c];                                                         \
      }                                                                                                                \
      for (; r < rows; r++)                                                                                            \
        for (size_t c = first; c < end; c++)                                                                           \
          dst[c * dst_stride + r] = src[r * src_stride + c];                                                           \
    }                                                                                                                  \
  }
DEFINE_MATRIX(matrix_1, element_1, 16, block_1)
DEFINE_MATRIX(matrix_2, element_2, 8, block_2)
DEFINE_MATRIX(matrix_4, element_4, 4, block_4)
DEFINE_MATRIX(matrix_8, element_8, 2, block_8)

// Pictures have three colours, too few for the blocks: planes of 4-byte elements to triples and back.
static void interleave_3(size_t count, const element_4 *src, size_t src_stride, element_4 *dst) {
  size_t i = 0;
  for (; count - i >= 4; i += 4) {
    words4 a, b, c;
    memcpy(&a, src + i, 16);
    memcpy(&b, src + src_stride + i, 16);
    memcpy(&c, src + 2 * src_stride + i, 16);
    const words4 bc = __builtin_shufflevector(b, c, 1, 5, 2, 6);
    const words4 out[3] = {__builtin_shufflevector(LOW4(a, b), c, 0, 1, 4, 2), __builtin_shufflevector(bc, a, 0, 1, 6, 2),
                           __builtin_shufflevector(HIGH4(a, b), c, 6, 2, 3, 7)};
    memcpy(dst + 3 * i, out, sizeof out);
  }
  for (; i < count; i++)
    for (size_t k = 0; k < 3; k++) dst[3 * i + k] = src[k * src_stride + i];
}

static void separate_3(size_t count, const element_4 *src, element_4 *dst, size_t dst_stride) {
  size_t i = 0;
  for (; count - i >= 4; i += 4) {
    words4 in[3];
    memcpy(in, src + 3 * i, sizeof in);
    const words4 a = __builtin_shufflevector(__builtin_shufflevector(in[0], in[1], 0, 3, 6, 6), in[2], 0, 1, 2, 5);
    const words4 b = __builtin_shufflevector(__builtin_shufflevector(in[0], in[1], 1, 4, 7, 7), in[2], 0, 1, 2, 6);
    const words4 c = __builtin_shufflevector(__builtin_shufflevector(in[0], in[1], 2, 5, 5, 5), in[2], 0, 1, 4, 7);
    memcpy(dst + i, &a, 16);
    memcpy(dst + dst_stride + i, &b, 16);
    memcpy(dst + 2 * dst_stride + i, &c, 16);
  }
  for (; i < count; i++)
    for (size_t k = 0; k < 3; k++) dst[k * dst_stride + i] = src[3 * i + k];
}

// The same for planes of bytes, with a fourth byte that the next pixel overwrites.
static void interleave_bytes_3(size_t count, const element_1 *src, size_t src_stride, element_1 *dst) {
  size_t i = 0;
  for (; count - i > 16; i += 16) {
    bytes16 a, b, c, pixels[4];
    memcpy(&a, src + i, 16);
    memcpy(&b, src + src_stride + i, 16);
    memcpy(&c, src + 2 * src_stride + i, 16);
    const words8 ab = (words8)LOW16(a, b), ab2 = (words8)HIGH16(a, b), cc = (words8)LOW16(c, c), cc2 = (words8)HIGH16(c, c);
    pixels[0] = (bytes16)LOW8(ab, cc), pixels[1] = (bytes16)HIGH8(ab, cc);
    pixels[2] = (bytes16)LOW8(ab2, cc2), pixels[3] = (bytes16)HIGH8(ab2, cc2);
    for (size_t pixel = 0; pixel < 16; pixel++) memcpy(dst + 3 * (i + pixel), (const uint8_t *)pixels + 4 * pixel, 4);
  }
  for (; i < count; i++)
    for (size_t k = 0; k < 3; k++) dst[3 * i + k] = src[k * src_stride + i];
}

bool apus_transpose_2d(size_t elem_size, size_t rows, size_t cols, const void *src, size_t src_stride, void *dst,
                       size_t dst_stride) {
  switch (elem_size) {
  case 1:
    if (rows == 3 && dst_stride == 3)
      interleave_bytes_3(cols, src, src_stride, dst);
    else
      matrix_1(rows, cols, src, src_stride, dst, dst_stride);
    return true;
  case 2: matrix_2(rows, cols, src, src_stride, dst, dst_stride); return true;
  case 4:
    if (rows == 3 && dst_stride == 3)
      interleave_3(cols, src, src_stride, dst);
    else if (cols == 3 && src_stride == 3)
      separate_3(rows, src, dst, dst_stride);
    else
      matrix_4(rows, cols, src, src_stride, dst, dst_stride);
    return true;
  case 8: matrix_8(rows, cols, src, src_stride, dst, dst_stride); return true;
  default: return false;
  }
}
