// The element-wise, normalising and reducing operations of a transformer, each with its gradient.
//
// Common to all:
// - Rows (or columns) [begin, end) are processed; nothing else is written.
// - A matrix whose `data` is NULL is absent, where the comment says "optional".
// - The matrices of one call have one dtype, except in `sw_copy`.
// - `real` is the type of the arithmetic: float for SW_F32 and SW_BF16, double for SW_F64.
// - "Aliases" lists the outputs that may be the very same matrix as an input (same data and stride).
//   Any other overlap is an error.
// - "Written" replaces a gradient, "added" accumulates into it.
#pragma once
#include "kernel.h"

// MARK: RMS norm (rms_norm.c)
//
// A row is columns / width groups of `width` columns, each normalised by itself with the same weights: one
// group for a hidden state, one per head for QK-norm.

// h = x + residual; y = h * rstd * weight, rstd = 1 / sqrt(mean(h^2) + epsilon), over rows [begin, end).
// residual: optional; without it h is x, and `h` is not used. h is rounded to its dtype before it is
// normalised. weight: [width]. rstd: real [rows, columns / width], written. Aliases: h with x or residual; y
// with x or residual when h is a third matrix or absent.
void sw_rms_norm(sw_matrix x, sw_matrix residual, const float *weight, double epsilon, int64_t width,
                 sw_matrix h, sw_matrix y, void *rstd, int64_t begin, int64_t end);

// dh = adding + (gradient of y with respect to h, applied to dy), written, over rows [begin, end).
// adding: optional. Aliases: dh with adding or dy.
void sw_rms_norm_backward(sw_matrix dy, sw_matrix h, const float *weight, const void *rstd, int64_t width,
                          sw_matrix adding, sw_matrix dh, int64_t begin, int64_t end);

// d_weight[c] += sum over all rows and groups of dy * h * rstd, for c in [begin, end) within [0, width).
void sw_rms_norm_backward_weight(sw_matrix dy, sw_matrix h, const void *rstd, int64_t width, float *d_weight,
                                 int64_t begin, int64_t end);

// MARK: Rotary position embedding (rotary.c)

typedef enum : int32_t { SW_ROTATE_FORWARD = 1, SW_ROTATE_BACKWARD = -1 } sw_rotation;

// Rotates the first `rotary` columns of every head of `head_size` columns by the angles of positions[row] and
// copies the others: half i goes with half i + rotary / 2 (rotate-half order). cosine, sine: [positions,
// rotary / 2]. SW_ROTATE_BACKWARD turns the other way, which is the gradient. Aliases: y with x.
void sw_rotary(sw_matrix x, const int32_t *positions, const float *cosine, const float *sine,
               int64_t head_size, int64_t rotary, sw_rotation rotation, sw_matrix y, int64_t begin,
               int64_t end);

// MARK: Gated activation (gated_activation.c)

typedef enum : int32_t { SW_SILU = 0, SW_GELU_TANH = 1, SW_GELU_ERF = 2 } sw_activation;

// y = act(gate) * up. Aliases: y with gate or up.
void sw_gated_activation(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix y, int64_t begin,
                         int64_t end);

// d_gate = dy * up * act'(gate), d_up = dy * act(gate), both written. Aliases: d_gate and d_up, which are two
// matrices, each with gate, up or dy.
void sw_gated_activation_backward(sw_activation activation, sw_matrix gate, sw_matrix up, sw_matrix dy,
                                  sw_matrix d_gate, sw_matrix d_up, int64_t begin, int64_t end);

// MARK: Element-wise (elementwise.c)

// y = a + b. Aliases: y with a or b.
void sw_add(sw_matrix a, sw_matrix b, sw_matrix y, int64_t begin, int64_t end);

// y = alpha * x. Aliases: y with x.
void sw_scale(sw_matrix x, double alpha, sw_matrix y, int64_t begin, int64_t end);

// y = x, between any two dtypes. Aliases: none.
void sw_copy(sw_matrix x, sw_matrix y, int64_t begin, int64_t end);

// y = x * mask / (1 - probability). The mask of (row, column) is a function of seed, stream, first_row + row
// and column alone, so the same call on dy is the gradient. 0 <= probability < 1. Aliases: y with x.
// (dropout.c)
void sw_dropout(sw_matrix x, double probability, uint64_t seed, uint64_t stream, int64_t first_row,
                sw_matrix y, int64_t begin, int64_t end);

// MARK: Sums over rows (column_sum.c, embedding.c)

// sum[c] += sum over all rows of x[row, c], for c in [begin, end): the gradient of a bias.
void sw_column_sum(sw_matrix x, float *sum, int64_t begin, int64_t end);

// d_weight[ids[row], c] += dy[row, c] for all rows in order and c in [begin, end). d_weight: [vocabulary,
// columns], rows `columns` apart. A negative id is skipped.
void sw_embedding_backward(sw_matrix dy, const int32_t *ids, float *d_weight, int64_t begin, int64_t end);

// MARK: Softmax and cross-entropy (softmax.c, argmax.c)

// What a label that counts for nothing is: its loss is 0 and its row's gradient zero (PyTorch's
// ignore_index).
enum : int32_t { SW_IGNORED_LABEL = -100 };

// Which columns of a vocabulary's logits a matrix holds, from the first column on: the vocabulary may come in
// slices, from the first to the last.
typedef struct {
  int64_t first;
  int32_t is_last;
} sw_vocabulary_slice;

// With z = logits, or z = soft_cap * tanh(logits / soft_cap) when soft_cap > 0, over rows [begin, end):
// logsumexp[row] = log(sum exp(z[row])), loss[row] = logsumexp[row] - z[row, labels[row]], both real [rows],
// written. A label's log-probability is -loss.
//
// With a slice, logsumexp[row] is that of the columns so far, which it is read for, too, unless the slice is
// the first; loss[row] is -z[row, labels[row]], 0 before the label's slice, until the last.
void sw_cross_entropy(sw_matrix logits, sw_vocabulary_slice slice, const int32_t *labels, double soft_cap,
                      void *logsumexp, void *loss, int64_t begin, int64_t end);

// d_logits = scale * row_weight[row] * (softmax(z) - onehot(label)) * dz/dlogits, written, for the
// vocabulary's columns from `first_column` on; logsumexp is that of all columns. row_weight: [rows], or NULL
// for 1. For a loss given by its gradient with respect to the log-probabilities, pass that gradient as
// row_weight and -1 as scale. Aliases: d_logits with logits. Calling this right after sw_cross_entropy for a
// few rows at a time finds them in cache.
void sw_cross_entropy_backward(sw_matrix logits, int64_t first_column, const int32_t *labels, double soft_cap,
                               const void *logsumexp, const float *row_weight, double scale,
                               sw_matrix d_logits, int64_t begin, int64_t end);

// probabilities[row, c] = softmax(z / temperature), z as in sw_cross_entropy; float [rows, columns], rows
// `columns` apart. temperature > 0.
void sw_softmax(sw_matrix logits, double soft_cap, double temperature, float *probabilities, int64_t begin,
                int64_t end);

// index[row] = the column of the row's greatest element, the first of equals. NaN is never the greatest.
void sw_argmax(sw_matrix x, int32_t *index, int64_t begin, int64_t end);
