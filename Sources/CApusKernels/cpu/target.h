// Regions of code compiled for one instruction-set level, so that no source file needs build flags.
//
//     #if defined(__x86_64__)
//     #include <immintrin.h>
//     APUS_BEGIN_AVX2
//     static void f(void) { ... }      // every function in here may use AVX2, FMA and F16C
//     APUS_END
//     #endif
#ifndef APUS_TARGET_H
#define APUS_TARGET_H

#define APUS_BEGIN_AVX2 \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c,bmi,bmi2\"))), apply_to = function)")
#define APUS_BEGIN_AVXVNNI \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c,bmi,bmi2,avxvnni\"))), apply_to = function)")
#define APUS_BEGIN_AVX512 \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl\"))), apply_to = function)")
#define APUS_BEGIN_AVX512VNNI \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni\"))), apply_to = function)")
// On AArch64; NEON itself is in its baseline and needs no region.
#define APUS_BEGIN_NEONDOT \
  _Pragma("clang attribute push(__attribute__((target(\"dotprod\"))), apply_to = function)")
#define APUS_BEGIN_NEONI8MM \
  _Pragma("clang attribute push(__attribute__((target(\"dotprod,i8mm\"))), apply_to = function)")
#define APUS_END _Pragma("clang attribute pop")

// For the small functions a kernel is made of; also inlined in debug builds, where a call per vector would dominate.
#define APUS_INLINE static inline __attribute__((always_inline, unused))

#endif
