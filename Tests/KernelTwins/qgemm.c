#include "kernel_twins.h"

#include "twin.h"

#if defined(__x86_64__)
#define apus_qgemm_avxvnni twin_qgemm_table
#include "../../Sources/CApusKernels/qgemm/qgemm_avxvnni.c"

const apus_qgemm_kernel *twin_qgemm(void) { return &twin_qgemm_table; }
#else
const apus_qgemm_kernel *twin_qgemm(void) { return NULL; }
#endif
