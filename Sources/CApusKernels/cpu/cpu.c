#include "apus_cpu.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define BIT(word, n) (((word) >> (n)) & 1u)
#define LEVEL(isa) (1u << (isa))

static const struct {
  const char *name;
  apus_isa isa;
} names[] = {
    {"generic", APUS_ISA_GENERIC},       {"avx2", APUS_ISA_AVX2},
    {"avxvnni", APUS_ISA_AVXVNNI},       {"avx512", APUS_ISA_AVX512},
    {"avx512vnni", APUS_ISA_AVX512VNNI}, {"neon", APUS_ISA_NEON},
    {"neondot", APUS_ISA_NEONDOT},       {"neoni8mm", APUS_ISA_NEONI8MM},
};

#if defined(__x86_64__)
// The register state the operating system saves: without it an instruction the CPU knows still faults.
static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

static uint32_t detect(void) {
  uint32_t levels = LEVEL(APUS_ISA_GENERIC);
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return levels;
  const uint32_t osxsave = BIT(c, 27), avx = BIT(c, 28), fma = BIT(c, 12), f16c = BIT(c, 29);
  if (!osxsave || !avx) return levels;
  const uint64_t state = saved_state();
  const int ymm_saved = (state & 0x06) == 0x06;
  const int zmm_saved = (state & 0xe6) == 0xe6;

  uint32_t max_subleaf, b7, c7, d7;
  if (!__get_cpuid_count(7, 0, &max_subleaf, &b7, &c7, &d7)) return levels;
  if (!(ymm_saved && fma && f16c && BIT(b7, 5) && BIT(b7, 8))) return levels;
  levels |= LEVEL(APUS_ISA_AVX2);

  if (max_subleaf >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && BIT(a, 4)) {
    levels |= LEVEL(APUS_ISA_AVXVNNI);
  }
  const uint32_t avx512 = BIT(b7, 16) & BIT(b7, 17) & BIT(b7, 30) & BIT(b7, 31);
  if (zmm_saved && avx512) {
    levels |= LEVEL(APUS_ISA_AVX512);
    if (BIT(c7, 11)) levels |= LEVEL(APUS_ISA_AVX512VNNI);
  }
  return levels;
}
#elif defined(__aarch64__) && defined(__linux__)
static uint32_t detect(void) {
  const unsigned long hwcap = getauxval(AT_HWCAP);
  const unsigned long hwcap2 = getauxval(AT_HWCAP2);
  uint32_t levels = LEVEL(APUS_ISA_GENERIC);
  if (!BIT(hwcap, 1)) return levels;
  levels |= LEVEL(APUS_ISA_NEON);
  if (!BIT(hwcap, 20)) return levels;
  levels |= LEVEL(APUS_ISA_NEONDOT);
  if (BIT(hwcap2, 13)) levels |= LEVEL(APUS_ISA_NEONI8MM);
  return levels;
}
#else
static uint32_t detect(void) { return LEVEL(APUS_ISA_GENERIC); }
#endif

uint32_t apus_cpu_levels(void) {
  // Zero means "not looked yet"; looking twice from two threads gives the same answer.
  static _Atomic uint32_t found;
  uint32_t levels = atomic_load_explicit(&found, memory_order_relaxed);
  if (levels == 0) {
    levels = detect();
    atomic_store_explicit(&found, levels, memory_order_relaxed);
  }
  return levels;
}

uint32_t apus_cpu_levels_capped(apus_isa cap) {
  const int level = (int)cap;
  if (level < 0 || level > 31) return LEVEL(APUS_ISA_GENERIC);
  uint32_t below = (uint32_t)((UINT64_C(2) << level) - 1);
  // A cap of one architecture allows only `generic` on the other: that is what the two chains share.
  if (level >= (int)APUS_ISA_NEON) below &= ~UINT32_C(0xffff) | LEVEL(APUS_ISA_GENERIC);
  return apus_cpu_levels() & below;
}

const char *apus_isa_name(int isa) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if ((int)names[i].isa == isa) return names[i].name;
  }
  return NULL;
}

int apus_isa_from_name(const char *name) {
  if (name == NULL) return -1;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(names[i].name, name) == 0) return (int)names[i].isa;
  }
  return -1;
}
