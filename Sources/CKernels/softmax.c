// Softmax, and the cross-entropy of a softmax with a label.
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "softmax.c"
#define SW_MIXED
#include "each_dtype.h"

SW_KERNEL void sw_cross_entropy(sw_matrix logits, sw_vocabulary_slice slice, const int32_t *labels,
                                double soft_cap, void *logsumexp, void *loss, int64_t begin, int64_t end) {
  SW_DISPATCH(logits.dtype, cross_entropy, logits, slice, labels, soft_cap, logsumexp, loss, begin, end);
}

SW_KERNEL void sw_cross_entropy_backward(sw_matrix logits, int64_t first_column, const int32_t *labels,
                                         double soft_cap, const void *logsumexp, const float *row_weight,
                                         double scale, sw_matrix d_logits, int64_t begin, int64_t end) {
  SW_DISPATCH_MIXED(logits.dtype, d_logits.dtype, cross_entropy_backward, logits, first_column, labels,
                    soft_cap, logsumexp, row_weight, scale, d_logits, begin, end);
}

SW_KERNEL void sw_softmax(sw_matrix logits, double soft_cap, double temperature, float *probabilities,
                          int64_t begin, int64_t end) {
  SW_DISPATCH(logits.dtype, softmax, logits, soft_cap, temperature, probabilities, begin, end);
}

#else

// z = cap tanh(x / cap) (Gemma 2, arXiv:2408.00118, section 2); z = x without a cap, cap = 0. Functions that
// take soft_cap are called with a constant 0 where there is none, so that their loops hold no tanh.
SW_INLINE real TYPED(cap)(real x, real soft_cap) {
  return soft_cap > 0 ? soft_cap * sw_tanh(x / soft_cap) : x;
}

// dz/dx = 1 - (z / cap)^2
SW_INLINE real TYPED(cap_slope)(real z, real soft_cap) {
  return soft_cap > 0 ? 1 - (z / soft_cap) * (z / soft_cap) : 1;
}

// log(exp(before) + sum exp(z * multiplier)), read from memory once (tiles stay in cache): the sum so far is
// relative to the greatest value so far (Milakov & Gimelshein, arXiv:1805.02867), which changes at most once
// per tile.
SW_INLINE real TYPED(logsumexp)(const stored *x, int64_t count, real soft_cap, real multiplier, real before) {
  SW_SUM_IN_LANES
  enum { TILE = 512 };
  real greatest = sw_max((real)-1e30, before), sum = sw_exp(before - greatest);
  for (int64_t first = 0; first < count; first += TILE) {
    int64_t length = count - first < TILE ? count - first : TILE;
    real previous = greatest, tile_sum = 0;
    SW_VECTOR
    for (int64_t c = first; c < first + length; c++)
      greatest = sw_max(greatest, TYPED(cap)(sw_load(&x[c]), soft_cap) * multiplier);
    SW_VECTOR
    for (int64_t c = first; c < first + length; c++)
      tile_sum += sw_exp(TYPED(cap)(sw_load(&x[c]), soft_cap) * multiplier - greatest);
    sum = sum * sw_exp(previous - greatest) + tile_sum;
  }
  return greatest + sw_log(sum);
}

SW_INLINE void TYPED(cross_entropy)(sw_matrix logits, sw_vocabulary_slice slice, const int32_t *labels,
                                    double soft_cap, real *logsumexp, real *loss, int64_t begin,
                                    int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *x = ROW(logits, row);
    real before = slice.first > 0 ? logsumexp[row] : -(real)INFINITY;
    real z_label = slice.first > 0 ? -loss[row] : 0;
    int64_t label = labels[row] - slice.first;
    if (label >= 0 && label < logits.columns)
      z_label = TYPED(cap)(sw_load(&x[label]), (real)soft_cap);
    logsumexp[row] = soft_cap > 0 ? TYPED(logsumexp)(x, logits.columns, (real)soft_cap, 1, before)
                                  : TYPED(logsumexp)(x, logits.columns, 0, 1, before);
    loss[row] = labels[row] == SW_IGNORED_LABEL ? 0 : (slice.is_last ? logsumexp[row] : 0) - z_label;
  }
}

// dx = weight * (exp(z - logsumexp) - onehot(label)) * dz/dx; the label may be none of these columns.
SW_INLINE void TYPED(cross_entropy_row_backward)(const stored *x, int64_t count, int64_t label, real soft_cap,
                                                 real logsumexp, real weight, narrow *dx) {
  int has_label = label >= 0 && label < count;
  real z_label = has_label ? TYPED(cap)(sw_load(&x[label]), soft_cap) : 0; // before dx, maybe x, is written
  SW_VECTOR
  for (int64_t c = 0; c < count; c++) {
    real z = TYPED(cap)(sw_load(&x[c]), soft_cap);
    sw_store(&dx[c], weight * sw_exp(z - logsumexp) * TYPED(cap_slope)(z, soft_cap));
  }
  if (has_label)
    sw_store(&dx[label], weight * (sw_exp(z_label - logsumexp) - 1) * TYPED(cap_slope)(z_label, soft_cap));
}

SW_INLINE void TYPED(cross_entropy_backward)(sw_matrix logits, int64_t first_column, const int32_t *labels,
                                             double soft_cap, const real *logsumexp, const float *row_weight,
                                             double scale, sw_matrix d_logits, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *x = ROW(logits, row);
    narrow *dx = NARROW_ROW(d_logits, row);
    real weight = (real)(row_weight ? scale * row_weight[row] : scale);
    int64_t label = labels[row] - first_column;
    if (labels[row] == SW_IGNORED_LABEL)
      memset(dx, 0, (size_t)logits.columns * sizeof(narrow));
    else if (soft_cap > 0)
      TYPED(cross_entropy_row_backward)(x, logits.columns, label, (real)soft_cap, logsumexp[row], weight, dx);
    else
      TYPED(cross_entropy_row_backward)(x, logits.columns, label, 0, logsumexp[row], weight, dx);
  }
}

// softmax(z * multiplier)
SW_INLINE void TYPED(softmax_row)(const stored *x, int64_t count, real soft_cap, real multiplier,
                                  float *probabilities) {
  real logsumexp = TYPED(logsumexp)(x, count, soft_cap, multiplier, -(real)INFINITY);
  SW_VECTOR
  for (int64_t c = 0; c < count; c++)
    probabilities[c] = (float)sw_exp(TYPED(cap)(sw_load(&x[c]), soft_cap) * multiplier - logsumexp);
}

SW_INLINE void TYPED(softmax)(sw_matrix logits, double soft_cap, double temperature, float *probabilities,
                              int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *x = ROW(logits, row);
    float *out = probabilities + row * logits.columns;
    if (soft_cap > 0)
      TYPED(softmax_row)(x, logits.columns, (real)soft_cap, (real)(1 / temperature), out);
    else
      TYPED(softmax_row)(x, logits.columns, 0, (real)(1 / temperature), out);
  }
}

#endif
