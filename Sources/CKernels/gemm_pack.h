// Packing of the matrix product's operands.
#pragma once
#include "include/gemm.h"

// Packs columns [n0, n1) of B into panels of 16 (see include/gemm.h) that lie panel_bytes apart, padded with
// zeros to `padded_k` rows and whole panels. `scratch`: sw_pack_scratch_bytes.
void sw_pack_b(const sw_gemm *g, sw_dtype packed, int64_t padded_k, int64_t n0, int64_t n1, void *panels,
               int64_t panel_bytes, void *scratch);
int64_t sw_pack_scratch_bytes(void);

// Copies rows [m, m + rows) of A, transposing if it must, to `out` (rows, padded_k), padded with zeros.
void sw_stage_a(const sw_gemm *g, int64_t m, int rows, int64_t padded_k, void *out);

// Converts `count` elements of float or bfloat16 to float.
void sw_widen(sw_dtype dtype, const void *x, int64_t count, float *out);
