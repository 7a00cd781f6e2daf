#if defined(__x86_64__)
#include <immintrin.h>

#include "../cpu/target.h"

#define APUS_LEVEL avx512vnni
#define APUS_LEVEL_ISA APUS_ISA_AVX512VNNI
#define LANES 16
#define VECTORS 2
#define ROWS 8
#define WEIGHT_LOOP UNROLL
#include "qwinograd_types.h"

APUS_BEGIN_AVX512VNNI

// Not the intrinsic: clang makes a multiplication and an addition of it wherever a sum waits for the one before.
APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

#include "qwinograd_body.h"
APUS_END
#endif
