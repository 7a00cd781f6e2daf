#include "kernel_twins.h"

#include "twin.h"

#if defined(__x86_64__)
// Its products are packed and stored by the twin of that family.
#define apus_qgemm_avxvnni twin_qgemm_table
#define apus_qwinograd_avxvnni twin_qwinograd_table
#define APUS_VEX
#include "../../Sources/CApusKernels/qwinograd/qwinograd_avxvnni.c"

const apus_qwinograd_kernel *twin_qwinograd(void) { return &twin_qwinograd_table; }
#else
const apus_qwinograd_kernel *twin_qwinograd(void) { return NULL; }
#endif
