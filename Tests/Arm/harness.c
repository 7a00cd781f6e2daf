#include "harness.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// MARK: Cases

enum { MOST_FAILURES_SHOWN = 4, MOST_DIGESTS = 16 };

static char name[128];
static size_t passed, failed, failures;

static uint64_t state;

static void release(void);

static uint64_t hash(uint64_t seed, const void *bytes, size_t count) {
  // FNV-1a.
  const uint8_t *p = bytes;
  for (size_t i = 0; i < count; i++) seed = (seed ^ p[i]) * UINT64_C(0x100000001b3);
  return seed;
}

void start(const char *family, const char *level, const char *what) {
  snprintf(name, sizeof name, "%s %s: %s", family, level, what);
  failures = 0;
  state = hash(hash(UINT64_C(0xcbf29ce484222325), family, strlen(family)), what, strlen(what));
}

void fail(const char *format, ...) {
  if (failures++ >= MOST_FAILURES_SHOWN) return;
  va_list arguments;
  va_start(arguments, format);
  printf("✘ %s: ", name);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

void finish(void) {
  release();
  if (failures) failed++;
  else passed++;
}

bool runnable(apus_isa isa) { return isa == APUS_ISA_GENERIC || (apus_cpu_levels() >> isa & 1u) != 0; }

static struct {
  const char *family;
  uint64_t value;
} digests[MOST_DIGESTS];

void digest(const char *family, const void *bytes, size_t count) {
  size_t i = 0;
  while (i < MOST_DIGESTS && digests[i].family && strcmp(digests[i].family, family) != 0) i++;
  if (i == MOST_DIGESTS) abort();
  if (!digests[i].family) {
    digests[i].family = family;
    digests[i].value = UINT64_C(0xcbf29ce484222325);
  }
  digests[i].value = hash(digests[i].value, bytes, count);
}

// MARK: Random numbers (splitmix64)

uint64_t random_bits(void) {
  uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

size_t below(size_t n) { return (size_t)(random_bits() % n); }
bool coin(void) { return random_bits() >> 63; }
float between(float low, float high) {
  // The product is rounded before the sum on every machine.
  const volatile float offset = (float)(random_bits() >> 40) * 0x1p-24f * (high - low);
  return low + offset;
}
void fill_floats(float *p, size_t n, float low, float high) {
  for (size_t i = 0; i < n; i++) p[i] = between(low, high);
}
void fill_bytes(void *p, size_t n) {
  for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)(random_bits() >> 56);
}

const float special_floats[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 2.0f, -2.0f, 3.0f, -3.0f, 1.5f, 2.5f, -2.5f, 100.0f, -100.0f, INFINITY, -INFINITY, NAN,
    0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f, 0x1p-133f, -0x1.8p-133f, 0x1.fffffep127f, -0x1.fffffep127f, 88.72283f, 88.72284f,
    -87.33655f, -103.97208f, -104.5f, 1e-8f, -1e-8f, 1e10f, -1e10f, 8388607.5f, 8388608.0f, 16777214.0f, 4194303.5f, 4194304.5f,
    0x1p31f, -0x1p31f, 0x1p-25f, 0.92f, -0.92f, 4.0f, 10.0f, 20.5f};
const size_t special_float_count = sizeof special_floats / sizeof *special_floats;

// MARK: Memory

enum { MOST_BLOCKS = 1 << 16, CANARY = 0xa5, FRESH = 0x5a };

static struct block {
  uint8_t *map, *pages, *memory;
  size_t mapped, paged, bytes;
} blocks[MOST_BLOCKS];
static size_t block_count;

void *guarded(size_t bytes, edge where) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page + (bytes == 0);
  struct block b = {.paged = pages * page, .mapped = (pages + 2) * page, .bytes = bytes};
  b.map = mmap(NULL, b.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (b.map == MAP_FAILED || block_count == MOST_BLOCKS) {
    printf("✘ %s: no memory\n", name);
    exit(1);
  }
  b.pages = b.map + page;
  if (mprotect(b.pages, b.paged, PROT_READ | PROT_WRITE) != 0) exit(1);
  memset(b.pages, CANARY, b.paged);
  b.memory = where == AT_START ? b.pages : b.pages + (b.paged - bytes);
  memset(b.memory, FRESH, bytes);
  blocks[block_count++] = b;
  return b.memory;
}

static void release(void) {
  for (size_t i = 0; i < block_count; i++) {
    const struct block b = blocks[i];
    bool intact = true;
    for (const uint8_t *p = b.pages; p < b.pages + b.paged; p++)
      if ((p < b.memory || p >= b.memory + b.bytes) && *p != CANARY) intact = false;
    if (!intact) fail("something was written beside %zu bytes", b.bytes);
    munmap(b.map, b.mapped);
  }
  block_count = 0;
}

// MARK: Comparisons

void expect_same(const void *got, const void *want, size_t count, size_t element, const char *what) {
  if (count == 0 || memcmp(got, want, count * element) == 0) return;
  const uint8_t *a = got, *b = want;
  for (size_t i = 0; i < count; i++) {
    uint64_t x = 0, y = 0;
    memcpy(&x, a + i * element, element);
    memcpy(&y, b + i * element, element);
    if (x == y) continue;
    fail("%s: element %zu of %zu is 0x%llx, not 0x%llx", what, i, count, (unsigned long long)x, (unsigned long long)y);
    return;
  }
}

void expect_near(const float *got, const float *want, size_t count, double tolerance, const char *what) {
  for (size_t i = 0; i < count; i++) {
    const double x = got[i], y = want[i];
    if (isnan(x) ? isnan(y) : x == y || fabs(x - y) <= tolerance) continue;
    fail("%s: element %zu of %zu is %.9g, not %.9g", what, i, count, x, y);
    return;
  }
}

// MARK: The program

static void on_signal(int number) {
  // Only what is allowed in a signal handler.
  static const char text[] = " ended by a signal: an instruction or an address that is not allowed\n";
  ssize_t ignored = write(STDOUT_FILENO, name, strlen(name));
  ignored = write(STDOUT_FILENO, text, sizeof text - 1);
  (void)ignored;
  _exit(128 + number);
}

/// What each family chooses.
static void print_selection(uint32_t levels) {
  printf("qgemm %s\n", apus_qgemm_select(levels)->name);
#ifndef APUS_INTEGERS_ONLY
  printf("qblocks %s\n", apus_qblocks_select(levels)->name);
  printf("sgemm %s\n", apus_isa_name(apus_sgemm_select(levels)->isa));
  printf("depthwise %s\n", apus_isa_name(apus_depthwise_select(levels)->isa));
  printf("winograd %s\n", apus_isa_name(apus_winograd_select(levels, 2, 3, 4)->isa));
  printf("pooling %s\n", apus_isa_name(apus_pooling_select(levels)->isa));
  printf("elementwise %s\n", apus_elementwise_select(levels)->name);
  printf("softmax %s\n", apus_softmax_select(levels)->name);
  printf("normalization %s\n", apus_normalization_select(levels)->name);
  printf("reduce %s\n", apus_reduce_select(levels)->name);
  printf("rowproduct %s\n", apus_rowproduct_select(levels)->name);
  printf("nbits %s\n", apus_nbits_select(levels)->name);
#endif
  printf("qdepthwise %s\n", apus_qdepthwise_select(levels)->name);
  printf("qelementwise %s\n", apus_qelementwise_select(levels)->name);
  printf("quantize %s\n", apus_quantize_select(levels)->name);
  printf("half %s\n", apus_half_select(levels)->name);
}

/// Without arguments runs every case, prints digests and counts. `select` prints what each family chooses under the cap of
/// APUS_CPU; `levels` what this CPU has.
int main(int count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (count > 1 && strcmp(arguments[1], "levels") == 0) {
    for (int isa = 0; isa < 32; isa++)
      if (apus_cpu_levels() >> isa & 1u) printf("%s\n", apus_isa_name(isa));
    return 0;
  }
  if (count > 1 && strcmp(arguments[1], "select") == 0) {
    const char *cap = getenv("APUS_CPU");
    const int isa = apus_isa_from_name(cap);
    if (cap && isa < 0) return 2;
    print_selection(cap ? apus_cpu_levels_capped((apus_isa)isa) : apus_cpu_levels());
    return 0;
  }
  const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);
  test_qgemm();
  test_qwinograd();
  test_qdepthwise();
  test_qelementwise();
  test_quantize();
  test_half();
#ifndef APUS_INTEGERS_ONLY
  test_sgemm();
  test_depthwise();
  test_winograd();
  test_pooling();
  test_elementwise();
  test_rows();
  test_nbits();
  test_qblocks();
  test_transpose();
#endif
  for (size_t i = 0; i < MOST_DIGESTS && digests[i].family; i++)
    printf("digest %s %016llx\n", digests[i].family, (unsigned long long)digests[i].value);
  printf("%zu passed, %zu failed\n", passed, failed);
  return failed != 0;
}
