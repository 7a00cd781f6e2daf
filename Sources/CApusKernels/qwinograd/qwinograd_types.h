// The vectors of a level with LANES 32-bit integers in one.
#ifndef APUS_QWINOGRAD_TYPES_H
#define APUS_QWINOGRAD_TYPES_H

#include <stdint.h>

// Unsigned, for sums wrap around.
typedef uint8_t bytes __attribute__((vector_size(2 * LANES)));
typedef uint16_t words __attribute__((vector_size(4 * LANES)));
typedef int16_t signed_words __attribute__((vector_size(4 * LANES)));
typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t signed_lanes __attribute__((vector_size(4 * LANES)));

#define PAIRED_4(FIRST) FIRST, FIRST + 2, FIRST + 1, FIRST + 3
#define PAIRED_8(FIRST) PAIRED_4(FIRST), PAIRED_4(FIRST + 4)
#define PAIRED_16(FIRST) PAIRED_8(FIRST), PAIRED_8(FIRST + 8)

/// The elements 0, 2, 1, 3 of each group of four.
#if LANES == 16
#define PAIRED(X) __builtin_shufflevector(X, X, PAIRED_16(0), PAIRED_16(16))
#elif LANES == 8
#define PAIRED(X) __builtin_shufflevector(X, X, PAIRED_16(0))
#else
#define PAIRED(X) __builtin_shufflevector(X, X, PAIRED_8(0))
#endif

#endif
