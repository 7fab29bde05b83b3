// Dot products of a weight's rows with a few rows of activations: what a decoding step costs is to read the
// weights, so each of their blocks is read once.
//
// The sum's order is fixed and does not depend on how many rows there are: element k of 32 goes to lane k %
// 16 of the first or second of two vectors of sums, which are then added up by halves.
#pragma once
#include "weights.h"

// Rows of activations are filled up with zeros to a multiple of so many elements.
enum { SW_DOT_STEP = 32 };

// sums[i * sums_stride + j] += scale * (row `first` + j of the weight) * (row i of x) for i < m and j <
// count. Rows of x lie `stride` floats apart. `decoded` has room for a row of the weight, filled up as those
// of x are.
void sw_dots(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
             int64_t stride, int64_t m, float *sums, int64_t sums_stride, float *decoded);

// Copies a row of `count` elements of float or bfloat16 to `out`, filled up with zeros.
void sw_dot_row(sw_dtype dtype, const void *x, int64_t count, float *out);

SW_INLINE int64_t sw_dot_padded(int64_t count) {
  return (count + SW_DOT_STEP - 1) / SW_DOT_STEP * SW_DOT_STEP;
}
