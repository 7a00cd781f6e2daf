// What the kernel tests in C share: cases that are counted, numbers that repeat, and memory with guard pages.
#ifndef APUS_ARM_HARNESS_H
#define APUS_ARM_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "apus_kernels.h"

// MARK: Cases

/// Begins a case; the same case draws the same numbers on every machine and for every level.
void start(const char *family, const char *level, const char *what);

/// Notes a failure of the case that is running. Its first few are printed.
void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// Ends the case: frees its memory, and fails it where something was written beside it.
void finish(void);

/// Whether this CPU can run a level.
bool runnable(apus_isa isa);

/// Every entry of a table of kernels that this CPU can run, as `kernel`.
#define FOR_EACH_LEVEL(TYPE, AT)                       \
  for (size_t entry = 0; AT(entry) != NULL; entry++)   \
    for (const TYPE *kernel = runnable(AT(entry)->isa) ? AT(entry) : NULL; kernel != NULL; kernel = NULL)

/// Adds results to the digest of a family, by which machines of different kinds are compared.
void digest(const char *family, const void *bytes, size_t count);

// MARK: Random numbers

uint64_t random_bits(void);
size_t below(size_t n);
bool coin(void);
float between(float low, float high);
void fill_floats(float *p, size_t n, float low, float high);
void fill_bytes(void *p, size_t n);

/// Floats at which functions and loops go wrong.
extern const float special_floats[];
extern const size_t special_float_count;

// MARK: Memory

/// Where an allocation touches a page that must not be: at its end or at its beginning.
typedef enum edge { AT_END, AT_START } edge;

/// Memory of exactly so many bytes, filled with a pattern; freed by finish(). Its alignment is that of its size, or a page.
void *guarded(size_t bytes, edge where);

static inline float *guarded_floats(size_t n, edge where, float low, float high) {
  float *p = guarded(n * sizeof *p, where);
  fill_floats(p, n, low, high);
  return p;
}

static inline void *guarded_bytes(size_t n, edge where) {
  void *p = guarded(n, where);
  fill_bytes(p, n);
  return p;
}

static inline void *guarded_copy(const void *from, size_t n, edge where) {
  void *p = guarded(n, where);
  if (n) memcpy(p, from, n);
  return p;
}

// MARK: Comparisons

/// Fails the case where two arrays differ in a bit; says where.
void expect_same(const void *got, const void *want, size_t count, size_t element, const char *what);

/// Fails the case where floats differ by more than `tolerance` (NaN and infinities must be the same).
void expect_near(const float *got, const float *want, size_t count, double tolerance, const char *what);

// MARK: The families

void test_qgemm(void);
void test_qwinograd(void);
void test_qdepthwise(void);
void test_qelementwise(void);
void test_quantize(void);
void test_half(void);
void test_sgemm(void);
void test_depthwise(void);
void test_winograd(void);
void test_pooling(void);
void test_elementwise(void);
void test_rows(void);
void test_nbits(void);
void test_qblocks(void);
void test_transpose(void);

#endif
