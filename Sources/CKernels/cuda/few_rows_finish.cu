// The second kernel of layers for few rows (FewRows.swift) whose first, few_rows_nf4_batch.cu, has left the
// sums of ranges of columns: adds them up, in order, and makes of them what the layer gives.
#include "few_rows_operands.cuh"

// Of a column of the products with all parts.
template <int ROWS>
DEVICE void add_ranges(const few_rows &f, int first, int64_t column, float (&sums)[ROWS]) {
  const int64_t columns = f.out.columns * (f.activation == ACT_NONE ? 1 : 2);
  const float *from = f.partials + column;
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    sums[r] = __ldcg(from + row_at<ROWS>(f, first, r) * columns);
#pragma unroll 4
  for (int i = 1; i < f.splits; i++) {
    from += f.x.rows * columns;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
      sums[r] += __ldcg(from + row_at<ROWS>(f, first, r) * columns);
  }
}

// A thread for a column of out and ROWS of its rows.
template <int ROWS> DEVICE void finish_rows(const few_rows &f) {
  let_successor_begin();
  wait_for_predecessors();
  const int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  const int first = blockIdx.y * ROWS;
  if (column >= f.out.columns)
    return;
  float sums[ROWS];
  add_ranges(f, first, column, sums);
  if (f.activation != ACT_NONE) {
    float ups[ROWS];
    add_ranges(f, first, f.out.columns + column, ups);
    finish_gated<bf16>(f, first, column, sums, ups);
  } else {
    int p = 0;
    while (p + 1 < f.parts && column >= f.part[p + 1].first)
      p++;
    finish<bf16>(f, f.part[p], first, column - f.part[p].first, sums);
  }
}

KERNEL __launch_bounds__(128) few_rows_finish_2(const __grid_constant__ few_rows f) { finish_rows<2>(f); }
KERNEL __launch_bounds__(128) few_rows_finish_4(const __grid_constant__ few_rows f) { finish_rows<4>(f); }
KERNEL __launch_bounds__(128) few_rows_finish_8(const __grid_constant__ few_rows f) { finish_rows<8>(f); }
