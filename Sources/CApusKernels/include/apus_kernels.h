#ifndef APUS_KERNELS_H
#define APUS_KERNELS_H
#include "apus_cpu.h"
#endif
