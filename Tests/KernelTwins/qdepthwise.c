#include "kernel_twins.h"

#include "twin.h"

#if defined(__x86_64__)
#define apus_qdepthwise_avxvnni twin_qdepthwise_table
#include "../../Sources/CApusKernels/qdepthwise/qdepthwise_avxvnni.c"

const apus_qdepthwise_kernels *twin_qdepthwise(void) { return &twin_qdepthwise_table; }
#else
const apus_qdepthwise_kernels *twin_qdepthwise(void) { return NULL; }
#endif
