// The transforms of Winograd's fast convolution, f32, channels last: 3×3 windows, stride 1, dilation 1.
#ifndef APUS_WINOGRAD_H
#define APUS_WINOGRAD_H

#include <stddef.h>
#include <stdint.h>

#include "apus_cpu.h"
#include "apus_epilogue.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A convolution computed in squares of `tile`×`tile` outputs ("Fast Algorithms for Convolutional Neural Networks",
/// Lavin and Gray 2015). Each square needs (tile+2)² inputs. Three steps, of which the middle one is a matrix product for
/// each of the (tile+2)² positions p of a transformed square:
///
///     V[p][square][k]  = (Bᵀ d B)[p]                    apus_winograd_input
///     M[p][square][n]  = sum over k of V[p] · U[p][k][n]  apus_sgemm_run, U from apus_winograd_weights,
///                                                         or apus_winograd_packed_weights
///     output           = act(Aᵀ M A + bias + residual)    apus_winograd_output
///
/// Points of interpolation: 0, ±1 and infinity for tile 2; 0, ±√½, ±√2 and infinity for tile 4. The latter keep the
/// rounding error of tile 4 at about twice that of the direct sum (1.5e-6 against 0.8e-6 of the largest output with 256
/// channels); the usual 0, ±1, ±2 have four times the direct sum's.
///
/// Squares are numbered image by image, row by row, ceil(height/tile) * ceil(width/tile) to an image. Nothing outside the
/// image and the channels given is read or written; squares that hang over the output's edge are cut, inputs outside the image
/// count as zero. Nothing is allocated. Sizes and offsets must fit into ptrdiff_t: the caller checks. Any size may be 0. Every
/// result depends on its own square alone, so bits do not depend on how the squares are shared out among threads.
///
/// An infinity or NaN in the input spreads over the whole square, where the direct sum would keep it within its windows.
typedef struct apus_winograd_image {
  size_t in_height, in_width;   ///< pixels; pixel [y,x] of image i begins at ((i * in_height + y) * in_width + x) * channels
  size_t out_height, out_width; ///< likewise for outputs and residual
  size_t pad_top, pad_left;     ///< zeros before the image; padding below and to the right follows from the output's size
} apus_winograd_image;

typedef struct apus_winograd_ops apus_winograd_ops;

/// One implementation: the element of a constant table, never freed.
typedef struct apus_winograd_kernel {
  const char *name;
  apus_isa isa;
  size_t tile; ///< outputs along a side of a square: 2 or 4
  const apus_winograd_ops *ops;
} apus_winograd_kernel;

/// Number of kernels compiled in, whatever this CPU can run.
size_t apus_winograd_kernel_count(void);

/// The kernel at an index below the count: those of tile 4 best first, then those of tile 2; NULL beyond the end.
const apus_winograd_kernel *apus_winograd_kernel_at(size_t index);

/// The best kernel of that tile whose level is in `levels` (see apus_cpu_levels_capped); NULL for a tile that is not 2 or 4.
const apus_winograd_kernel *apus_winograd_select(uint32_t levels, size_t tile);

/// The squares of one image.
size_t apus_winograd_squares(const apus_winograd_kernel *kernel, const apus_winograd_image *image);

/// U for the output channels [n_begin, n_end): `weights` are ONNX's [n, k, 3, 3], `u` gets
/// [(tile+2)²][k][n_end - n_begin], position p at u + p * position_stride floats. Computed in double, rounded once.
void apus_winograd_weights(size_t tile, const float *weights, size_t k, size_t n_begin, size_t n_end, float *u,
                           size_t position_stride);

/// U, for one run, from weights as apus_sgemm_pack_b has them: element j, of `count`, of tap t is packed[t * tap_stride + j], and of
/// position p u[p * position_stride + j]. Computed in float: up to two units in the last place from apus_winograd_weights.
void apus_winograd_packed_weights(const apus_winograd_kernel *kernel, const float *packed, size_t tap_stride, size_t count,
                                  float *u, size_t position_stride);

/// V of the squares [begin, end): row (square - begin) of position p is at v + p * position_stride + row * channels.
/// `input` is the first image's first pixel, `zero` points to `channels` zeros.
void apus_winograd_input(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                         const float *input, const float *zero, size_t begin, size_t end, float *v, size_t position_stride);

/// `channels` output channels of the squares [begin, end) from M, which lies as V does with so many channels. `output`, the
/// epilogue's residual and its bias are those of the first of these channels, in the first image's first pixel; a pixel begins
/// `pixel_stride` floats after the one before, in the residual too (residual_stride must be the same).
void apus_winograd_output(const apus_winograd_kernel *kernel, const apus_winograd_image *image, size_t channels,
                          const float *m, size_t position_stride, size_t begin, size_t end, float *output,
                          size_t pixel_stride, const apus_epilogue *epilogue);

#ifdef __cplusplus
}
#endif
#endif
