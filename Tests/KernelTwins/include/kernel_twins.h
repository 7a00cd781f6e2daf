// The kernels of the level avxvnni, compiled once more for AVX-512VL with VNNI: the same bodies, with the other encoding of the
// same instructions, so that CPUs without AVX-VNNI can test them. NULL on architectures that have neither.
#ifndef KERNEL_TWINS_H
#define KERNEL_TWINS_H

#include "apus_qblocks.h"
#include "apus_qdepthwise.h"
#include "apus_qgemm.h"
#include "apus_qwinograd.h"

const apus_qblocks_kernels *twin_qblocks(void);
const apus_qdepthwise_kernels *twin_qdepthwise(void);
const apus_qgemm_kernel *twin_qgemm(void);
const apus_qwinograd_kernel *twin_qwinograd(void);

#endif
