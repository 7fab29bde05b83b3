// Micro-kernels of the matrix product: one tile of accumulators, all of k.
#pragma once
#include "include/gemm.h"

enum { SW_PANEL = 16, SW_MAX_TILE_ROWS = 32, SW_MAX_TILE_PANELS = 2 };

// A stretch of k: rows of A by packed columns of B.
typedef struct {
  int64_t k;     // a multiple of k_multiple
  const void *a; // row-major, lda elements between rows
  int64_t lda;
  const void *b; // panels, panel_bytes apart
  int64_t panel_bytes;
} sw_stretch;

typedef struct {
  int rows;        // most rows of one tile
  int panels;      // most panels of one tile
  sw_dtype packed; // element type of B's panels
  int a_size;      // bytes of an element of A
  int k_multiple;  // k is padded with zeros to a multiple of this in B's panels
  int k_block;     // the k for which a tile's rows of A still lie in the nearest cache
  // sums(i, j) = (sum over `count` stretches and k of A(i, k) * B(k, j)) + (accumulate ? sums(i, j) : 0), for
  // i < m and the columns of `panels` panels. sums: float, or double for SW_F64, row-major, sums_stride
  // elements between rows.
  void (*run)(const sw_stretch *stretches, int count, int m, int panels, void *sums, int64_t sums_stride,
              int accumulate);
} sw_microkernel;

// The micro-kernel for A of type `dtype` on `isa`.
sw_microkernel sw_microkernel_for(sw_dtype dtype, sw_isa isa);
