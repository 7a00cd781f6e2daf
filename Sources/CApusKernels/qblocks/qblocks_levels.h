// The tables of all levels.
#ifndef APUS_QBLOCKS_LEVELS_H
#define APUS_QBLOCKS_LEVELS_H

#include "apus_qblocks.h"

#define KERNELS(LEVEL) extern const apus_qblocks_kernels apus_qblocks_##LEVEL;
#include "qblocks.def"
#undef KERNELS

#endif
