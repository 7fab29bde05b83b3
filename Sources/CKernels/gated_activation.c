// Gated linear units (Shazeer, arXiv:2002.05202): y = act(gate) * up.
#include "include/ops.h"
#ifndef SW_BODY
// The GELU in double calls erfc; no other loop here stays scalar.
#pragma clang diagnostic ignored "-Wpass-failed"
#define SW_TEMPLATE "gated_activation.c"
#include "each_dtype.h"

SW_KERNEL void sw_gated_activation(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix y,
                                   int64_t begin, int64_t end) {
  SW_DISPATCH(gate.dtype, gated_activation, activation, gate, up, y, begin, end);
}

SW_KERNEL void sw_gated_activation_backward(sw_activation activation, sw_matrix gate, sw_matrix up,
                                            sw_matrix dy, sw_matrix d_gate, sw_matrix d_up, int64_t begin,
                                            int64_t end) {
  SW_DISPATCH(gate.dtype, gated_activation_backward, activation, gate, up, dy, d_gate, d_up, begin, end);
}

#else

// act(x) and its derivative.
typedef struct {
  real value, slope;
} TYPED(activated);

// x sigma(x)
SW_INLINE TYPED(activated) TYPED(silu)(real x) {
  real sigma = sw_sigmoid(x);
  return (TYPED(activated)){x * sigma, sigma * (1 + x * (1 - sigma))};
}

// x / 2 (1 + tanh u) = x sigma(2u), u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks & Gimpel,
// arXiv:1606.08415)
SW_INLINE TYPED(activated) TYPED(gelu_tanh)(real x) {
  const real a = (real)(2 * M_2_SQRTPI * M_SQRT1_2), b = (real)0.044715;
  real sigma = sw_sigmoid(a * (x + b * x * x * x));
  return (TYPED(activated)){x * sigma, sigma * (1 + x * (1 - sigma) * a * (1 + 3 * b * x * x))};
}

// x Phi(x), slope Phi(x) + x phi(x)
SW_INLINE TYPED(activated) TYPED(gelu_erf)(real x) {
  real gauss = sw_exp((real)-0.5 * x * x), phi = sw_normal_cdf(x, gauss);
  return (TYPED(activated)){x * phi, phi + x * gauss * (real)(0.5 * M_2_SQRTPI * M_SQRT1_2)};
}

// `activation` is a constant where this is called, so that the loops hold no branch.
SW_INLINE TYPED(activated) TYPED(activate)(sw_activation activation, real x) {
  switch (activation) {
  case SW_SILU:
    return TYPED(silu)(x);
  case SW_GELU_TANH:
    return TYPED(gelu_tanh)(x);
  case SW_GELU_ERF:
    return TYPED(gelu_erf)(x);
  }
}

SW_INLINE void TYPED(gate_rows)(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix y,
                                int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *gate_row = ROW(gate, row), *up_row = ROW(up, row);
    stored *y_row = ROW(y, row);
    SW_VECTOR
    for (int64_t c = 0; c < gate.columns; c++)
      sw_store(&y_row[c], TYPED(activate)(activation, sw_load(&gate_row[c])).value * sw_load(&up_row[c]));
  }
}

SW_INLINE void TYPED(gate_rows_backward)(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix dy,
                                         sw_matrix d_gate, sw_matrix d_up, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *gate_row = ROW(gate, row), *up_row = ROW(up, row), *dy_row = ROW(dy, row);
    stored *d_gate_row = ROW(d_gate, row), *d_up_row = ROW(d_up, row);
    SW_VECTOR
    for (int64_t c = 0; c < gate.columns; c++) {
      TYPED(activated) act = TYPED(activate)(activation, sw_load(&gate_row[c]));
      real dy_here = sw_load(&dy_row[c]), d_gate = dy_here * sw_load(&up_row[c]) * act.slope;
      sw_store(&d_up_row[c], dy_here * act.value);
      sw_store(&d_gate_row[c], d_gate);
    }
  }
}

SW_INLINE void TYPED(gated_activation)(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix y,
                                       int64_t begin, int64_t end) {
  switch (activation) {
  case SW_SILU:
    return TYPED(gate_rows)(SW_SILU, gate, up, y, begin, end);
  case SW_GELU_TANH:
    return TYPED(gate_rows)(SW_GELU_TANH, gate, up, y, begin, end);
  case SW_GELU_ERF:
    return TYPED(gate_rows)(SW_GELU_ERF, gate, up, y, begin, end);
  }
}

SW_INLINE void TYPED(gated_activation_backward)(sw_activation activation, sw_matrix gate, sw_matrix up,
                                                sw_matrix dy, sw_matrix d_gate, sw_matrix d_up, int64_t begin,
                                                int64_t end) {
  switch (activation) {
  case SW_SILU:
    return TYPED(gate_rows_backward)(SW_SILU, gate, up, dy, d_gate, d_up, begin, end);
  case SW_GELU_TANH:
    return TYPED(gate_rows_backward)(SW_GELU_TANH, gate, up, dy, d_gate, d_up, begin, end);
  case SW_GELU_ERF:
    return TYPED(gate_rows_backward)(SW_GELU_ERF, gate, up, dy, d_gate, d_up, begin, end);
  }
}

#endif
