// Rows of a weight by one row of activations, decoded in registers.
#pragma once
#include "include/dot.h"

// sums[j] += scale * (row `first` + j of the weight) * x for j < count. Returns 0, and does nothing, where the
// processor or the weight's format has no such kernel. Elements have the values that sw_weight_decode gives them.
int sw_dots_avx512(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
                   float *sums);
