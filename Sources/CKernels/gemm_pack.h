// Packing of the matrix product's operands.
#pragma once
#include "include/gemm.h"

// The part of k that is packed: `count` values from `first` on, padded with zeros to `padded`. `first` is a
// multiple of every storage format's block.
typedef struct {
  int64_t first, count, padded;
} sw_k_range;

// Packs rows `k` and columns [n0, n1) of B into panels of 16 columns (see include/gemm.h) that lie
// panel_bytes apart, padded with zeros to whole panels. `scratch`: sw_pack_scratch_bytes.
void sw_pack_b(const sw_term *term, sw_dtype packed, sw_k_range k, int64_t n0, int64_t n1, void *panels,
               int64_t panel_bytes, void *scratch);
int64_t sw_pack_scratch_bytes(void);

// Copies rows [m, m + rows) and columns `k` of A, transposing if it must, to `out` (rows, k.padded).
void sw_stage_a(const sw_term *term, int64_t m, int rows, sw_k_range k, void *out);

// Converts `count` elements of float or bfloat16 to float.
void sw_widen(sw_dtype dtype, const void *x, int64_t count, float *out);
