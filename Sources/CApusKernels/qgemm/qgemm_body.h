// The product of one level. The including file has included a vec_*.h, defines MR, NR, the type a_element of A in the
// workspace, and
//
//     tile(rows, groups, a, a_stride, b, sums)
//
// which writes sums[r * NR + j] for `rows` (a constant after inlining) rows of A, `a_stride` elements apart, and one
// panel, over `groups` groups of four. It surrounds this with its target region.
#include "../cpu/table.h"
#include "../quantize/requantize.h"
#include "qgemm_ops.h"

// Panels that stay in the second-level cache while the rows pass by.
#define PANEL_BYTES ((size_t)256 * 1024)

APUS_INLINE uint32_t wrapping(int32_t x) { return (uint32_t)x; }

// Copies n elements, raised by 128 if they are signed, and adds them up.
APUS_INLINE uint32_t copy_elements(size_t n, const uint8_t *restrict from, uint8_t flip, a_element *restrict to) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    const uint8_t value = from[i] ^ flip;
    to[i] = value;
    sum += value;
  }
  return sum;
}

// One row of A into the workspace: taps one after the other, zeros up to the depth. Gives its sum.
APUS_INLINE uint32_t pack_row(const apus_qgemm_args *args, size_t row, size_t depth, a_element *to) {
  const uint8_t flip = args->a_is_signed ? 0x80 : 0;
  const uint8_t *a = args->a;
  const size_t k = args->k, length = k * args->taps;
  uint32_t sum = 0;
  if (args->a_table) {
    const ptrdiff_t *table = args->a_table + row * args->taps;
    for (size_t t = 0; t < args->taps; t++) {
      const uint8_t *from = table[t] == APUS_PADDING_TAP ? (const uint8_t *)args->a_padding : a + table[t];
      sum += copy_elements(k, from, flip, to + t * k);
    }
  } else if (args->a_k_stride == 1) {
    sum = copy_elements(length, a + row * args->a_row_stride, flip, to);
  } else {
    for (size_t i = 0; i < length; i++) {
      const uint8_t value = a[row * args->a_row_stride + i * args->a_k_stride] ^ flip;
      to[i] = value;
      sum += value;
    }
  }
  for (size_t i = length; i < depth; i++) to[i] = 0;
  return sum;
}

APUS_INLINE vi load_ints(const int32_t *p, size_t lanes) {
  if (lanes == VW) return vi_load(p);
  int32_t some[VW] = {0};
  memcpy(some, p, lanes * sizeof *p);
  return vi_load(some);
}

APUS_INLINE vf load_floats(const float *p, size_t lanes) { return lanes == VW ? v_load(p) : v_load_n(p, lanes); }

// Zero points, bias and output of one tile. With A' = A + 128 where A is signed and B' = B - 128 where B is not, and
// zero points alike, the sum of (A - za)(B - zb) is  A'B' - za sum(B') - zb sum(A') + depth za zb.
APUS_INLINE void finish(const apus_qgemm_args *args, size_t row, size_t rows, size_t column, const int32_t *sums,
                        const int32_t *column_sums, const uint32_t *row_sums) {
  const size_t columns = args->n - column < NR ? args->n - column : NR;
  const uint32_t length = (uint32_t)(args->k * args->taps);
  const uint32_t a_shift = args->a_is_signed ? 128 : 0, b_shift = args->b_is_signed ? 0 : 128;
  const vf low = v_set1((float)args->low), high = v_set1((float)args->high), offset = v_set1((float)args->zero_point);
  for (size_t j = 0; j < columns; j += VW) {
    const size_t lanes = columns - j < VW ? columns - j : VW, c = column + j;
    vi b_zero = vi_set1((int32_t)(wrapping(args->b_zero_point) - b_shift));
    if (args->b_zero_points) b_zero = vi_sub(load_ints(args->b_zero_points + c, lanes), vi_set1((int32_t)b_shift));
    const vi b_sum = vi_load(column_sums + j);
    const vi bias = args->sum_bias ? load_ints(args->sum_bias + c, lanes) : vi_set1(0);
    const vf scale = args->output == APUS_QGEMM_S32 ? v_set1(0.0f)
                     : args->scales               ? load_floats(args->scales + c, lanes)
                                                  : v_set1(args->scale);
    for (size_t r = 0; r < rows; r++) {
      const uint32_t a_zero =
          wrapping(args->a_zero_points ? args->a_zero_points[row + r] : args->a_zero_point) + a_shift;
      vi s = vi_add(vi_load(sums + r * NR + j), bias);
      s = vi_sub(s, vi_mul(vi_set1((int32_t)a_zero), b_sum));
      s = vi_add(s, vi_mul(b_zero, vi_set1((int32_t)(length * a_zero - row_sums[r]))));
      const size_t place = (row + r) * args->c_stride + c;
      if (args->output == APUS_QGEMM_S32) {
        int32_t *to = (int32_t *)args->c + place, some[VW];
        if (args->accumulate) s = vi_add(s, load_ints(to, lanes));
        vi_store(lanes == VW ? to : some, s);
        if (lanes < VW) memcpy(to, some, lanes * sizeof *to);
      } else if (args->output == APUS_QGEMM_F32) {
        vf v = v_mul(vi_to_float(s), scale);
        if (args->row_scale) v = v_mul(v, v_set1(args->row_scale[row + r]));
        if (args->bias) v = v_add(v, load_floats(args->bias + c, lanes));
        float *to = (float *)args->c + place;
        if (lanes == VW) v_store(to, v);
        else v_store_n(to, lanes, v);
      } else {
        uint8_t *to = (uint8_t *)args->c + place, some[VW];
        vi_store_low8(lanes == VW ? to : some, v_requantize(s, scale, offset, low, high));
        if (lanes < VW) memcpy(to, some, lanes);
      }
    }
  }
}

static void run(const apus_qgemm_args *args, size_t m_begin, size_t m_end, size_t n_begin, size_t n_end,
                void *workspace) {
  const size_t depth = apus_qgemm_depth(args->taps, args->k), groups = depth / 4;
  const size_t panel_size = apus_qgemm_panel_size(NR, depth);
  const size_t block = (PANEL_BYTES / panel_size ? PANEL_BYTES / panel_size : 1) * NR;
  a_element *a = workspace;
  _Alignas(64) int32_t sums[MR * NR];
  for (size_t n0 = n_begin; n0 < n_end; n0 += n_end - n0 < block ? n_end - n0 : block) {
    const size_t n1 = n_end - n0 < block ? n_end : n0 + block;
    for (size_t m = m_begin; m < m_end; m += MR) {
      const size_t rows = m_end - m < MR ? m_end - m : MR;
      uint32_t row_sums[MR];
      for (size_t r = 0; r < rows; r++) row_sums[r] = pack_row(args, m + r, depth, a + r * depth);
      for (size_t n = n0; n < n1; n += NR) {
        const int8_t *panel = (const int8_t *)args->b + n / NR * panel_size;
        switch (rows) {
#define ROWS(COUNT) \
  case COUNT: tile(COUNT, groups, a, depth, panel, sums); break;
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if MR > 4
        ROWS(5) ROWS(6)
#endif
#if MR > 6
        ROWS(7) ROWS(8)
#endif
#undef ROWS
        }
        finish(args, m, rows, n, sums, (const int32_t *)(const void *)(panel + NR * depth), row_sums);
      }
    }
  }
}

static const apus_qgemm_ops ops = {.a_element = sizeof(a_element), .run = run};

extern const apus_qgemm_kernel APUS_NAME(apus_qgemm, APUS_LEVEL);
const apus_qgemm_kernel APUS_NAME(apus_qgemm, APUS_LEVEL) = {
    .name = APUS_TEXT(APUS_LEVEL), .isa = APUS_LEVEL_ISA, .mr = MR, .nr = NR, .ops = &ops};
