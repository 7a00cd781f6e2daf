// Leaf kernels: plain lanes, tiles and tables of rows. They know no tensors, threads or allocation.
//
// A family is a table of kernels, one entry per instruction-set level, best first and `generic` last:
// `apus_F_select(levels)` gives the best for a set of levels, `apus_F_at(i)` walks the table.
#ifndef APUS_KERNELS_H
#define APUS_KERNELS_H
#include "apus_cpu.h"

#include "apus_depthwise.h"
#include "apus_elementwise.h"
#include "apus_epilogue.h"
#include "apus_half.h"
#include "apus_indirection.h"
#include "apus_nbits.h"
#include "apus_normalization.h"
#include "apus_pooling.h"
#include "apus_qblocks.h"
#include "apus_qdepthwise.h"
#include "apus_qelementwise.h"
#include "apus_qgemm.h"
#include "apus_quantize.h"
#include "apus_qwinograd.h"
#include "apus_reduce.h"
#include "apus_rowproduct.h"
#include "apus_sgemm.h"
#include "apus_softmax.h"
#include "apus_transpose.h"
#include "apus_winograd.h"
#endif
