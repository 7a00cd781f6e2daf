#if defined(__x86_64__)
#include <immintrin.h>

#include "../cpu/target.h"

#define APUS_LEVEL avxvnni
#define APUS_LEVEL_ISA APUS_ISA_AVXVNNI
#define LANES 8
#define VECTORS 2
#define ROWS 4
#include "qwinograd_types.h"

// The encoding that AVX-VNNI has.
#ifndef APUS_VEX
#define APUS_VEX "%{vex%} "
#endif

APUS_BEGIN_AVXVNNI

// Not the intrinsic: see qwinograd_avx512vnni.c.
APUS_INLINE lanes add_pairs(lanes sum, words a, words b) {
  __asm__(APUS_VEX "vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  return sum;
}

#include "qwinograd_body.h"
APUS_END
#endif
