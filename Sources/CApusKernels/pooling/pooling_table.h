// The functions that each instruction set provides.
#ifndef APUS_POOLING_TABLE_H
#define APUS_POOLING_TABLE_H

#include "apus_pooling.h"

#define APUS_POOLING_KERNEL(NAME, ISA)                                                                                 \
  void apus_max_pool_##NAME(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end);                      \
  void apus_average_pool_##NAME(const apus_pooling_args *args, size_t pixel_begin, size_t pixel_end);                  \
  void apus_sum_rows_##NAME(size_t rows, size_t channels, const float *input, size_t row_stride, float scale,          \
                            float *output);
#include "pooling.def"
#undef APUS_POOLING_KERNEL

#endif
