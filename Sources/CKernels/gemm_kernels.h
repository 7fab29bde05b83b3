// Micro-kernels of the matrix product: one tile of accumulators, all of k.
#pragma once
#include "include/gemm.h"

enum { SW_PANEL = 16, SW_MAX_TILE_ROWS = 32, SW_MAX_TILE_PANELS = 2 };

typedef struct {
  int rows;        // most rows of one tile
  int panels;      // most panels of one tile
  sw_dtype packed; // element type of B's panels
  int a_size;      // bytes of an element of A
  int k_multiple;  // k is padded with zeros to a multiple of this in B's panels
  // sums(i, j) = (sum over k of A(i, k) * B(k, j)) + (accumulate ? sums(i, j) : 0), for i < m and the columns
  // of `panels` panels that lie panel_bytes apart. sums: float, or double for SW_F64, row-major, sums_stride
  // elements between rows. a: row-major, lda elements between rows.
  void (*run)(int64_t k, const void *a, int64_t lda, int m, const void *b, int64_t panel_bytes, int panels,
              void *sums, int64_t sums_stride, int accumulate);
} sw_microkernel;

// The micro-kernel for A of type `dtype` on `isa`.
sw_microkernel sw_microkernel_for(sw_dtype dtype, sw_isa isa);
