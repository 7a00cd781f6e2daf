// Leaf kernels: plain lanes, tiles and tables of rows. They know no tensors, threads or allocation.
#ifndef APUS_KERNELS_H
#define APUS_KERNELS_H
#include "apus_cpu.h"
#include "apus_indirection.h"
#include "apus_epilogue.h"
#include "apus_sgemm.h"
#endif
