// What is done to a result while it is still in registers.
#ifndef APUS_EPILOGUE_H
#define APUS_EPILOGUE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Element-wise activations. NaN goes in, NaN comes out, in all of them.
typedef enum apus_activation {
  APUS_ACTIVATION_NONE = 0,
  APUS_ACTIVATION_RELU = 1,         ///< max(x, 0)
  APUS_ACTIVATION_CLAMP = 2,        ///< min(max(x, alpha), beta)
  APUS_ACTIVATION_LEAKY_RELU = 3,   ///< x < 0 ? alpha * x : x
  APUS_ACTIVATION_HARD_SIGMOID = 4, ///< min(max(alpha * x + beta, 0), 1)
  APUS_ACTIVATION_HARD_SWISH = 5,   ///< x * min(max(alpha * x + beta, 0), 1); ONNX: alpha = 1/6, beta = 1/2
  APUS_ACTIVATION_FUNCTION = 6,     ///< `function(row, n, params)` on each finished piece of a row
} apus_activation;

/// Transforms `n` consecutive floats in place. Must treat each element independently of its neighbours and of `n`: it
/// is called on pieces of rows, and how rows are cut depends on the kernel. Called from the thread that runs the kernel.
typedef void (*apus_row_function)(float *row, size_t n, const float *params);

/// `act(x + bias[column] + residual[row][column])`, additions in that order.
///
/// A zero-initialised epilogue does nothing.
typedef struct apus_epilogue {
  const float *bias;          ///< one per column (output channel), or NULL
  const float *residual;      ///< one per result, or NULL; may be the output itself (same address and stride), or disjoint
  size_t residual_stride;     ///< floats from one row of the residual to the next
  apus_activation activation;
  float alpha, beta;          ///< meaning: see apus_activation
  apus_row_function function; ///< for APUS_ACTIVATION_FUNCTION: tanh, sigmoid, GELU, ... from the vector maths
  const float *params;        ///< handed to `function`
} apus_epilogue;

#ifdef __cplusplus
}
#endif
#endif
