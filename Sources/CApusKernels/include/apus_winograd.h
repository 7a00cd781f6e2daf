// The transforms of Winograd's fast convolution, f32, channels last: stride 1, dilation 1.
#ifndef APUS_WINOGRAD_H
#define APUS_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_epilogue.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A convolution computed in squares of `tile` outputs along each of its axes ("Fast Algorithms for Convolutional Neural Networks",
/// Lavin and Gray 2015). With windows of `window` taps, each square needs tile + window - 1 inputs along an axis, its points. Three
/// steps, of which the middle one is a matrix product for each of the positions p of a transformed square, points^axes of them:
///
///     V[p][square][k]  = (Bᵀ d B)[p]                    apus_winograd_input
///     M[p][square][n]  = sum over k of V[p] · U[p][k][n]  apus_sgemm_run, U from apus_winograd_weights,
///                                                         or apus_winograd_packed_weights
///     output           = act(Aᵀ M A + bias + residual)    apus_winograd_output
///
/// The forms, by axes, with the multiplications that an output takes beside those of the direct sum, and the rounding error
/// (root mean square of uniform inputs and weights) as a multiple of the direct sum's:
///
///     axes  window  tile  points   multiplications   error
///     2     3       4     6        2.25 for 9        1.8
///     2     3       2     4        4 for 9           1
///     2     5       2     6        9 for 25          1.3
///     2     2       3     4        1.78 for 4        1     the phases of transposed convolutions with stride 2
///     1     3       4     6        1.5 for 3         1.4
///     1     7       4     10       2.5 for 7         4.2
///
/// The matrices are those of Toom and Cook, from the points of interpolation, after which they are called: with t one of them and N(t)
/// the product of its distances from the other finite ones, row t of G is (1, t, t² ...) / N(t), of Bᵀ the coefficients of the
/// product of (x - s) over the other finite points s, and column t of Aᵀ (1, t, t² ...); infinity takes the last tap, the product of
/// (x - s) over all finite points, and the last output. The points are 0, infinity and
///
///     4 points:   ±1
///     6 points:   ±√½, ±√2; the usual ±1, ±2 have more than twice the error
///     10 points:  ±0.45, ±0.8, ±1.25, ±2.22, the best of those tried whose inverses are points as well
///
/// Squares are numbered image by image, row by row. Nothing outside the image and the channels given is read or written; squares
/// that hang over the output's edge are cut, inputs outside the image count as zero. Nothing is allocated. Sizes and offsets must fit
/// into ptrdiff_t: the caller checks. Any size may be 0. Every result depends on its own square alone, so bits do not depend on how
/// the squares are shared out among threads.
///
/// An infinity or NaN in the input spreads over the whole square, where the direct sum would keep it within its windows.
typedef struct apus_winograd_image {
  size_t in_height, in_width; ///< pixels; pixel [y,x] of image i begins at ((i * in_height + y) * in_width + x) * channels
  size_t high, wide;          ///< squares of an image, down and across
  size_t pad_top, pad_left;   ///< zeros above and to the left of the image that the first squares see
  bool down;                  ///< with a kernel of one axis: windows and squares lie along the height, otherwise the width
} apus_winograd_image;

/// Where outputs, and what is added to them, lie.
typedef struct apus_winograd_target {
  size_t height, width; ///< pixels
  size_t top, left;     ///< outputs of the first squares that lie before the first pixel, and are cut
  size_t image_stride, row_stride, pixel_stride; ///< floats from one image, row, pixel to the next
} apus_winograd_target;

typedef struct apus_winograd_ops apus_winograd_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_winograd_kernel {
  const char *name; ///< e.g. "avx512_f4x4_3x3": tile, window
  apus_isa isa;
  size_t axes;   ///< 2, or 1: windows of one row or one column
  size_t window; ///< taps along an axis
  size_t tile;   ///< outputs of a square along an axis
  const apus_winograd_ops *ops;
} apus_winograd_kernel;

/// Number of kernels compiled in, whatever this CPU can run.
size_t apus_winograd_kernel_count(void);

/// The kernel at an index below the count: form by form, best first; NULL beyond the end.
const apus_winograd_kernel *apus_winograd_kernel_at(size_t index);

/// The best kernel of that form whose level is in `levels` (see apus_cpu_levels_capped); NULL for one that is not in the table.
const apus_winograd_kernel *apus_winograd_select(uint32_t levels, size_t axes, size_t window, size_t tile);

/// The positions of a transformed square.
size_t apus_winograd_positions(const apus_winograd_kernel *kernel);

/// U for the output channels [n_begin, n_end): `weights` are ONNX's [n, k, taps], `u` gets
/// [positions][k][n_end - n_begin], position p at u + p * position_stride floats. Computed in double, rounded once.
void apus_winograd_weights(const apus_winograd_kernel *kernel, const float *weights, size_t k, size_t n_begin, size_t n_end,
                           float *u, size_t position_stride);

/// U, for one run, from weights as apus_sgemm_pack_b has them: element j, of `count`, of tap t is packed[t * tap_stride + j], and of
/// position p u[p * position_stride + j]. Computed in float: up to a few units in the last place from apus_winograd_weights.
void apus_winograd_packed_weights(const apus_winograd_kernel *kernel, const float *packed, size_t tap_stride, size_t count,
                                  float *u, size_t position_stride);

/// V of the squares [begin, end): row (square - begin) of position p is at v + p * position_stride + row * channels.
/// `input` is the first image's first pixel, `zero` points to `channels` zeros.
void apus_winograd_input(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                         const float *input, const float *zero, size_t begin, size_t end, float *v, size_t position_stride);

/// `channels` output channels of the squares [begin, end) from M, whose row (square - begin) of position p is at
/// m + p * position_stride + row * m_stride. `output`, the epilogue's residual and its bias are those of the first of these channels,
/// in the first image's first pixel; the residual lies as the output does, whatever its residual_stride.
void apus_winograd_output(const apus_winograd_kernel *kernel, const apus_winograd_image *image,
                          const apus_winograd_target *target, size_t channels, const float *m, size_t m_stride,
                          size_t position_stride, size_t begin, size_t end, float *output, const apus_epilogue *epilogue);

#ifdef __cplusplus
}
#endif
#endif
