// Winograd's fast convolution in integers, channels last: 3×3 windows, stride 1, dilation 1. Exact.
#ifndef APUS_QWINOGRAD_H
#define APUS_QWINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_qgemm.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A convolution of 8-bit integers in squares of 4×4 outputs, each of which needs 6×6 inputs: 36 products of 16-bit numbers take
/// the place of 144 ("Fast Algorithms for Convolutional Neural Networks", Lavin and Gray 2015, points 0, ±1, ±2 and infinity).
///
/// The matrices are scaled until all of their elements are whole. Input less its zero point, |d| <= 255, becomes |V| <= 25500 and
/// weights |w| <= 128 become |U| <= 6272: both fit 16 bits. Their products are summed, and transformed, modulo 2^32; what comes out is the
/// convolution times 576 = 64 * 9. The inverse of 9 modulo 2^32 makes that 64 times it, and a shift gives it exactly *as long as it lies
/// within ±APUS_QWINOGRAD_MOST*. The caller answers for that: by the weights of each output channel and the input's zero point,
/// apus_qwinograd_fits tells it for every input. All further steps are the matrix product's own (apus_qgemm.h), so that outputs have
/// the bits of the direct sum, on every kernel and however squares and panels are shared out.
///
/// Weights are read as apus_qgemm_pack_b packs them for `product`, with 9 taps, and transformed as they are needed: transformed ones
/// have 8 times the size, which takes longer to read from memory than to make anew.
///
/// Memory, threads, squares: as in apus_qgemm.h and apus_winograd.h. The number of input channels must be a multiple of 4.
typedef struct apus_qwinograd_image {
  size_t in_height, in_width;   ///< pixels; pixel [y,x] of image i begins at ((i * in_height + y) * in_width + x) * channels
  size_t out_height, out_width; ///< likewise for outputs and residual
  size_t pad_top, pad_left;     ///< zeros before the image; padding below and to the right follows from the output's size
} apus_qwinograd_image;

typedef struct apus_qwinograd_ops apus_qwinograd_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_qwinograd_kernel {
  const char *name; ///< as apus_isa_name(isa)
  apus_isa isa;
  const apus_qgemm_kernel *product; ///< packs the weights and stores the sums
  const apus_qwinograd_ops *ops;
} apus_qwinograd_kernel;

/// The sums, less any bias, for which the convolution is exact lie in [-APUS_QWINOGRAD_MOST, APUS_QWINOGRAD_MOST).
#define APUS_QWINOGRAD_MOST ((int64_t)1 << 25)

/// All kernels this build contains, best first and `generic` last; NULL from the end on. Not all may run on this CPU.
const apus_qwinograd_kernel *apus_qwinograd_at(size_t index);

/// The best kernel for a set of levels, such as apus_cpu_levels_capped() gives. Never NULL.
const apus_qwinograd_kernel *apus_qwinograd_select(uint32_t levels);

/// Whether sums stay within the limit for every input of `n` output channels, of whose weights (9 k to each, one after the other, less
/// their zero point: as s8, or u8 less 128) none passes it with inputs less zero point in [low, high].
bool apus_qwinograd_fits(const void *weights, bool is_signed, size_t k, size_t n, int32_t low, int32_t high);

/// Squares of one image.
size_t apus_qwinograd_squares(const apus_qwinograd_image *image);

/// Words from one square's row of V to the next, at least k: a multiple of 32.
size_t apus_qwinograd_row(size_t k);

/// V of the squares [begin, end): row (square - begin) of position p, of 36, is at v + p * position_stride + row * apus_qwinograd_row(k).
///
/// Of `args` k, a, a_is_signed, a_zero_point and a_padding are read: A is the first image's first pixel, and a_padding points to k
/// elements that hold A's zero point.
void apus_qwinograd_input(const apus_qwinograd_kernel *kernel, const apus_qwinograd_image *image, const apus_qgemm_args *args,
                          size_t begin, size_t end, int16_t *v, size_t position_stride);

/// Bytes of workspace for apus_qwinograd_run with so many squares at a time.
size_t apus_qwinograd_workspace_size(const apus_qwinograd_kernel *kernel, size_t k, size_t squares);

/// Output channels of the panels [panel_begin, panel_end), each of product->nr, of the squares [begin, end), whose V is at `v`.
///
/// Of `args` n, k, b, sum_bias, all outputs and what they need are read; m counts the pixels of all images' outputs, of which each is a
/// row of C. The zero point of B must be 0 where it is signed, else 128; `a_zero_points` and `row_scale` must be NULL.
void apus_qwinograd_run(const apus_qwinograd_kernel *kernel, const apus_qwinograd_image *image, const apus_qgemm_args *args,
                        const int16_t *v, size_t position_stride, size_t begin, size_t end, size_t panel_begin, size_t panel_end,
                        void *workspace);

#ifdef __cplusplus
}
#endif
#endif
