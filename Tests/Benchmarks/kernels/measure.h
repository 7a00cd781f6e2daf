// Timing for the kernel benchmarks: best of repeats, and the FMA peak of this core at this moment.
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apus_kernels.h"

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define MEASURE_KEEP(v) __asm__ volatile("" : "+v"(v))
__attribute__((target("avx2,fma"), noinline)) static double measure_fma(long n) {
  __m256 a = _mm256_set1_ps(1e-3f), c[12];
  MEASURE_KEEP(a);
  for (int i = 0; i < 12; i++) c[i] = _mm256_setzero_ps();
  for (long k = 0; k < n; k++)
#pragma clang loop unroll(full)
    for (int i = 0; i < 12; i++) {
      c[i] = _mm256_fmadd_ps(a, a, c[i]);
      MEASURE_KEEP(c[i]);
    }
  return (double)n * 12 * 16;
}
#else
static double measure_fma(long n) { return (double)n; }
#endif

/// Best GFLOP/s of one core in a few milliseconds.
static inline double measure_peak(void) {
  double best = 0;
  for (int i = 0; i < 5; i++) {
    const double t = now(), work = measure_fma(400000), rate = work / (now() - t) * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

/// Memory that begins at a cache line, filled with small reproducible values.
static inline float *measure_floats(size_t count) {
  float *p = aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64);
  if (!p) abort();
  uint32_t state = 12345;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    p[i] = (float)(int32_t)state * (1.0f / 2147483648.0f);
  }
  return p;
}

/// Runs `body` until `seconds` have passed, at least 3 times; `best` becomes the shortest time.
#define MEASURE(best, seconds, body)                                                                                   \
  do {                                                                                                                 \
    best = 1e30;                                                                                                       \
    const double end_ = now() + (seconds);                                                                             \
    for (int run_ = 0; run_ < 3 || now() < end_; run_++) {                                                             \
      const double start_ = now();                                                                                     \
      body;                                                                                                            \
      const double took_ = now() - start_;                                                                             \
      if (took_ < best) best = took_;                                                                                  \
    }                                                                                                                  \
  } while (0)

#endif
