// Transposition of matrices of 1-, 2-, 4- and 8-byte elements.
#ifndef APUS_TRANSPOSE_H
#define APUS_TRANSPOSE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// dst[c][r] = src[r][c] for r < rows, c < cols.
///
/// `elem_size` is 1, 2, 4 or 8 bytes; for another the result is false and nothing is written. Strides are in elements,
/// from one row to the next: src_stride >= cols, dst_stride >= rows. No alignment is needed, the two must not overlap.
/// Nothing outside the given rows and columns is read or written.
///
/// Channels-first to channels-last of one image is transpose(channels, height * width), back is the other way round.
/// Bits are moved, never interpreted. Large matrices can be split at any row or column and moved by several threads.
bool apus_transpose_2d(size_t elem_size, size_t rows, size_t cols, const void *src, size_t src_stride, void *dst,
                       size_t dst_stride);

#ifdef __cplusplus
}
#endif
#endif
