// float8 (e4m3: one sign, four exponent and three mantissa bits, no infinities, largest 448) with a scale for
// each row, and products of such rows. Source: Micikevicius et al., arXiv:2209.05433, section 3.
//
// For checks, not for speed: training in float8 is for GPUs, which give the same codes.
#pragma once
#include "kernel.h"
#include "weights.h"
#include <stdbool.h>

// The nearest code, ties to even; what is larger than 448 becomes 448. NaN stays NaN.
uint8_t sw_to_e4m3(float value);
float sw_from_e4m3(uint8_t code);

// codes[r, c] = x[r, c] * factors[c] over scales[r], which is the row's largest magnitude over 448, for rows
// [begin, end). factors: [columns] or NULL for ones. codes: [rows, columns].
void sw_float8_rows(sw_matrix x, const float *factors, uint8_t *codes, float *scales, int64_t begin,
                    int64_t end);

// The same scales of a weight's rows.
void sw_float8_weight_scales(const sw_weight *weight, float *scales, int64_t begin, int64_t end);

// Codes of a weight's rows [begin, end) under `scales`: of row r at codes + r * stride, or transposed,
// element c of row r at codes + c * stride + r.
void sw_float8_weight(const sw_weight *weight, const float *scales, bool transposed, uint8_t *codes,
                      int64_t stride, int64_t begin, int64_t end);

// out[i, j] = left_scales[i] * right_scales[j] * sum over c of left[i, c] * right[j, c] + addend[i, j] for
// rows [begin, end) of out, SW_F32 or SW_BF16. left: [rows, k], right: [columns, k], contiguous codes.
// addend: optional, may be out.
void sw_float8_product(const uint8_t *left, const float *left_scales, const uint8_t *right,
                       const float *right_scales, int64_t k, sw_matrix addend, sw_matrix out, int64_t begin,
                       int64_t end);
