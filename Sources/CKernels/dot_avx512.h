// One row of a weight by one row of activations, decoded in registers.
#pragma once
#include "include/dot.h"

// out: the 16 lanes of the sum. Returns 0, and writes nothing, where the processor or the weight's format has
// no such kernel. Elements have the values that sw_weight_decode gives them.
int sw_dot_avx512(const sw_weight *weight, int64_t row, const float *x, float out[16]);
