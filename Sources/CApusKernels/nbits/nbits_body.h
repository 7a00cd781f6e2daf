// The kernel of one level. The including file has included a vec_*.h and defines
//
//     spread(p, count, shift)    lane l holds p[l >> shift]; p has `count` floats, 1 where `shift` is log2(VW) or more
//     load_words(p, count)       `count` <= VW words of 32 bits, the other lanes 0
//     decode(words, bits, j)     element j of each word less 2^(bits - 1), as floats
#include "../cpu/table.h"
#include "apus_nbits.h"

// One column, `rows` (a constant after inlining) rows.
APUS_INLINE void column(const apus_nbits_args *args, size_t n, int rows, int bits) {
  enum { ROWS = APUS_NBITS_ROWS };
  const size_t per_word = 32 / (size_t)bits, block_words = args->block_size * (size_t)bits / 32;
  const size_t word_count = args->blocks * block_words, padded = (word_count + VW - 1) / VW * VW;
  const size_t row_size = padded * (per_word + 1);
  const uint8_t *codes = args->codes + n * word_count * 4;
  const float *scales = args->scales + n * args->blocks;
  const float *zero_points = args->zero_points ? args->zero_points + n * args->blocks : 0;
  unsigned shift = 0;
  while (((size_t)1 << shift) < block_words && ((size_t)1 << shift) < VW) shift++;
  const size_t per_vector = (size_t)VW >> shift; // blocks in a vector of words
  const vf middle = v_set1((float)(1 << (bits - 1)));
  vf total[ROWS];
  for (int r = 0; r < rows; r++) total[r] = v_set1(0.0f);
  for (size_t word = 0; word < word_count; word += VW) {
    const size_t left = word_count - word, first_block = word / block_words;
    const size_t block_count = args->blocks - first_block < per_vector ? args->blocks - first_block : per_vector;
    const vi words = load_words(codes + word * 4, left < VW ? left : VW);
    const vf scale = spread(scales + first_block, block_count, shift);
    vf sum[ROWS];
    if (zero_points) {
      const vf offset = v_sub(middle, spread(zero_points + first_block, block_count, shift));
      for (int r = 0; r < rows; r++) sum[r] = v_mul(offset, v_load(args->a + (size_t)r * row_size + padded * per_word + word));
    } else {
      for (int r = 0; r < rows; r++) sum[r] = v_set1(0.0f);
    }
#define STEP(J)                                                                                              \
  if ((J) < 32 / bits) {                                                                                     \
    const vf weight = decode(words, bits, J);                                                                \
    for (int r = 0; r < rows; r++)                                                                           \
      sum[r] = v_fma(weight, v_load(args->a + (size_t)r * row_size + word * per_word + (J) * VW), sum[r]);   \
  }
    STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
    STEP(8) STEP(9) STEP(10) STEP(11) STEP(12) STEP(13) STEP(14) STEP(15)
#undef STEP
    for (int r = 0; r < rows; r++) total[r] = v_fma(scale, sum[r], total[r]);
  }
  for (int r = 0; r < rows; r++) {
    const float sum = v_sum(total[r]);
    args->c[(size_t)r * args->c_stride + n] = args->bias ? sum + args->bias[n] : sum;
  }
}

#define COLUMNS(ROWS, BITS) \
  for (size_t n = n_begin; n < n_end; n++) column(args, n, ROWS, BITS)

#define ROWS_OF(BITS)                        \
  switch (args->m) {                         \
  case 1: COLUMNS(1, BITS); break;           \
  case 2: COLUMNS(2, BITS); break;           \
  case 3: COLUMNS(3, BITS); break;           \
  default: COLUMNS(4, BITS); break;          \
  }

static void run(const apus_nbits_args *args, size_t n_begin, size_t n_end) {
  if (args->m == 0 || n_begin >= n_end) return;
  switch (args->bits) {
  case 2: ROWS_OF(2) break;
  case 4: ROWS_OF(4) break;
  default: ROWS_OF(8) break;
  }
}

extern const apus_nbits_kernels APUS_NAME(apus_nbits, APUS_LEVEL);
const apus_nbits_kernels APUS_NAME(apus_nbits, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .lanes = VW, .run = run};
