// Rows of a weight by up to four rows of activations, decoded in registers.
#pragma once
#include "include/dot.h"

// Most rows of activations that share a pass over a row of the weight.
enum { SW_DOT_ROWS = 4 };

// sw_dots for m <= SW_DOT_ROWS. Returns 0, and does nothing, where the processor or the weight's format has
// no such kernel. Elements have the values that sw_weight_decode gives them.
int sw_dots_avx512(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
                   int64_t stride, int m, float *sums, int64_t sums_stride);
