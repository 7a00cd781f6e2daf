// Lets the source of a kernel for AVX-VNNI, included next, be compiled for AVX-512VL with VNNI.
#if defined(__x86_64__)
#include <immintrin.h>

#include "../../Sources/CApusKernels/cpu/target.h"

#undef APUS_BEGIN_AVXVNNI
#define APUS_BEGIN_AVXVNNI APUS_BEGIN_AVX512VNNI
#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32
#define _mm_dpbusd_avx_epi32 _mm_dpbusd_epi32
#endif
