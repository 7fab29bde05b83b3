// Matrix products: activations by weights in any storage format, and activations by activations.
//
//   C (m, n) = alpha * sum over terms of A (m, k) * scale * B (k, n) + bias (n) + addend (m, n)
//
// A linear layer with a low-rank adapter is two terms, the input gradient of three layers that share an input
// four or more: all are added up in registers, so C is written and rounded once.
//
// B is packed panel by panel into scratch memory on the way (decoded, if it is quantised), so that no weight
// is ever materialised whole; every element of B is decoded once per product. A panel holds 16 columns:
// [k][16] floats, [k/2][16][2] bfloat16 or [k][16] doubles. C is computed in tiles whose accumulators stay in
// registers for a block of k: one fixed order of additions, whatever the split.
#pragma once
#include "kernel.h"
#include "weights.h"

typedef enum : int32_t {
  SW_B_WEIGHT_ROWS = 0, // B(k, n) = weight[n, k]: forward, y = x W^T
  SW_B_WEIGHT = 1,      // B(k, n) = weight[k, n]: input gradient, dx = dy W
  SW_B_MATRIX = 2,      // B(k, n) = matrix[k, n]: weight gradient, dW = dy^T x
  SW_B_MATRIX_ROWS = 3, // B(k, n) = matrix[n, k]
} sw_b_kind;

typedef struct {
  int64_t k;
  sw_matrix a; // (m, k), or (k, m) with a_transposed; its dtype, the same in all terms, is the arithmetic's
  int32_t a_transposed;
  sw_b_kind b_kind;
  sw_weight weight; // for SW_B_WEIGHT_ROWS and SW_B_WEIGHT
  sw_matrix b;      // for SW_B_MATRIX and SW_B_MATRIX_ROWS, of a's dtype
  float scale;      // of a weight; 1 for matrices
} sw_term;

enum { SW_MAX_TERMS = 8 };

typedef struct {
  int64_t m, n;
  sw_term terms[SW_MAX_TERMS];
  int32_t term_count;
  float alpha;
  const float *bias;    // [n] or NULL
  sw_matrix addend;     // (m, n) of c's dtype; data NULL: none; may be c itself
  sw_matrix c;          // (m, n), or (n, m) with c_transposed; any dtype (SW_F64 when a is)
  int32_t c_transposed; // `addend` and `bias` must then be absent, or addend c itself
} sw_gemm;

typedef enum : int32_t { SW_ISA_PORTABLE = 0, SW_ISA_AVX512, SW_ISA_AVX512_BF16, SW_ISA_AMX } sw_isa;

// The best instruction set of this machine for `dtype`. AMX state is asked of the kernel on first use.
sw_isa sw_gemm_isa(sw_dtype dtype);

// k is taken in blocks of about this (a quarter more at most), whose columns of B are packed at once.
int64_t sw_gemm_k_block(sw_dtype dtype, sw_isa isa);

// Computes rows [m0, m1) and columns [n0, n1) of C; n0 is a multiple of 16. `scratch` holds at least
// sw_gemm_scratch_bytes(g, m1 - m0, n1 - n0, isa) bytes, 64-byte aligned, and belongs to the calling thread.
void sw_gemm_tile(const sw_gemm *g, sw_isa isa, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                  void *scratch);
int64_t sw_gemm_scratch_bytes(const sw_gemm *g, int64_t rows, int64_t columns, sw_isa isa);
