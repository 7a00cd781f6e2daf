// CPU abilities and the cap on them.
#ifndef APUS_CPU_H
#define APUS_CPU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Instruction-set levels, each including the ones before it on the same architecture.
///
/// A kernel names the level it needs; `generic` kernels are plain C and run everywhere.
typedef enum apus_isa {
  APUS_ISA_GENERIC = 0,
  APUS_ISA_AVX2 = 1,       ///< AVX2, FMA, F16C, BMI2
  APUS_ISA_AVXVNNI = 2,    ///< the VEX-encoded VNNI on top of AVX2
  APUS_ISA_AVX512 = 3,     ///< AVX-512 F, BW, DQ, VL (AVX-VNNI not implied)
  APUS_ISA_AVX512VNNI = 4, ///< AVX-512 VNNI on top
  APUS_ISA_NEON = 16,
  APUS_ISA_NEONDOT = 17,
  APUS_ISA_NEONI8MM = 18,
} apus_isa;

/// Bit (1 << level) for every level this CPU and operating system can run, found by CPUID/XGETBV (or HWCAP) once.
uint32_t apus_cpu_levels(void);

/// The levels a kernel may use when the caller's cap is `cap`: those of this CPU that are not above it.
/// A cap above the CPU's ability is no error.
uint32_t apus_cpu_levels_capped(apus_isa cap);

/// The name of a level as `APUS_CPU` spells it, or NULL for a number that is none.
const char *apus_isa_name(int isa);

/// The level of that name, or -1.
int apus_isa_from_name(const char *name);

/// Tells the CPU that the thread is waiting in a loop: it saves power, and leaves room to the core's other thread.
static inline void apus_cpu_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#ifdef __cplusplus
}
#endif
#endif
