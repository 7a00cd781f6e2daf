#include "kernel_twins.h"

#include "twin.h"

#if defined(__x86_64__)
#define apus_qblocks_avxvnni twin_qblocks_table
#include "../../Sources/CApusKernels/qblocks/qblocks_avxvnni.c"

const apus_qblocks_kernels *twin_qblocks(void) { return &twin_qblocks_table; }
#else
const apus_qblocks_kernels *twin_qblocks(void) { return NULL; }
#endif
