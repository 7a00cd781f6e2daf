#include "../cpu/table.h"
#include "apus_qdepthwise.h"

#define KERNELS(LEVEL) extern const apus_qdepthwise_kernels apus_qdepthwise_##LEVEL;
#include "qdepthwise.def"
#undef KERNELS

static const apus_qdepthwise_kernels *const table[] = {
#define KERNELS(LEVEL) &apus_qdepthwise_##LEVEL,
#include "qdepthwise.def"
#undef KERNELS
};

APUS_DEFINE_LOOKUP(apus_qdepthwise_kernels, apus_qdepthwise, table)

void apus_qdepthwise_pack_weights(size_t channels, size_t taps, const void *weights, bool is_signed, int32_t zero_point,
                                  const int32_t *zero_points, int16_t *packed) {
  for (size_t c = 0; c < channels; c++) {
    const int32_t zero = zero_points ? zero_points[c] : zero_point;
    for (size_t t = 0; t < taps; t++) {
      const size_t place = c * taps + t;
      const int32_t value = is_signed ? ((const int8_t *)weights)[place] : ((const uint8_t *)weights)[place];
      packed[t * channels + c] = (int16_t)(value - zero);
    }
  }
}
