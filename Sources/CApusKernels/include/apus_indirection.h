// Tables that say where the inputs of a sliding window lie.
#ifndef APUS_INDIRECTION_H
#define APUS_INDIRECTION_H

#include <stddef.h>

/// A window operator (convolution, pooling) of any rank, stride, dilation and padding is described to a kernel by one
/// table: for each output pixel, in order, `taps` entries, one per kernel position. An entry is the distance, in
/// *elements*, from a base pointer to the first channel of the input pixel under that tap; it must be >= 0.
/// A tap that falls into the padding is `APUS_PADDING_TAP`.
///
/// Distances, not pointers: one table serves every image of a batch, every group (add the group's first channel to the
/// base), every buffer and every element width. A table has `pixels * taps` entries of type ptrdiff_t (Swift `Int`).
#define APUS_PADDING_TAP ((ptrdiff_t)-1)

#endif
