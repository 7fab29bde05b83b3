// Layers for few rows (FewRows.swift) of any format, shape and alignment, by plain sums in float: for what
// the tensor cores' kernels (few_rows_mma.cuh) do not serve. And the choice of adapters by row.
#include "few_rows_operands.cuh"

enum { ROWS = 8 }; // of x that a warp has under way at once

// Products of a row of the weight with up to ROWS rows of x, in all lanes.
template <typename T>
DEVICE void products(const weight &w, int64_t j, const matrix &x, int first, int count, float (&sums)[ROWS]) {
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    sums[r] = 0;
  for (int64_t k = threadIdx.x % 32 * 8; k < w.columns; k += 256) {
    const int n = (int)(w.columns - k < 8 ? w.columns - k : 8);
    float values[8];
    decode8(w, j, k, n, values);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (r >= count)
        break;
      const auto u = read8(row<T>(x, first + r) + k, n);
#pragma unroll
      for (int i = 0; i < 8; i++)
        if (i < n)
          sums[r] = fmaf(values[i], to_float(u.at[i]), sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    sums[r] = warp_reduce<sum_of>(sums[r]);
}

// A warp for each column of out.
template <typename T> DEVICE void plain(const few_rows &f) {
  int64_t j = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (j >= f.out.columns)
    return;
  int p = 0;
  while (f.activation == ACT_NONE && j >= f.part[p].w.rows)
    j -= f.part[p++].w.rows;
  const int rows = (int)f.x.rows, lane = threadIdx.x % 32;
  for (int first = 0; first < rows; first += ROWS) {
    const int count = min(ROWS, rows - first);
    float sums[ROWS], ups[ROWS];
    products<T>(f.part[p].w, j, f.x, first, count, sums);
    if (f.activation != ACT_NONE)
      products<T>(f.part[1].w, j, f.x, first, count, ups);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (r >= count || lane != r)
        continue;
      if (f.activation == ACT_NONE)
        finish<T>(f, f.part[p], first + r, j, sums[r]);
      else
        finish_gated<T>(f, first + r, j, sums[r], ups[r]);
    }
  }
}

KERNEL __launch_bounds__(256) few_rows_f32(const __grid_constant__ few_rows f) { plain<float>(f); }
KERNEL __launch_bounds__(256) few_rows_bf16(const __grid_constant__ few_rows f) { plain<bf16>(f); }

// MARK: Few rows of the weight

// A weight of few rows in float32, such as adapters': a block for each of its rows and COUNT rows of x, which
// are bfloat16. All operands are ones that wide loads can read, of whole blocks of 64 columns. No sum depends
// on COUNT.
template <int COUNT> DEVICE void short_layer(const few_rows &f) {
  int j = blockIdx.x, p = 0;
  while (j >= f.part[p].w.rows)
    j -= (int)f.part[p++].w.rows;
  const int columns = (int)f.x.columns, first = blockIdx.y * COUNT;
  const float *weights = (const float *)f.part[p].w.data + (int64_t)j * columns;
  // Weights that are trained may be the work of the kernel before: until it ends they only come nearer.
  for (int k = threadIdx.x * 32; k < columns; k += blockDim.x * 32)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(weights + k));
  wait_for_predecessors();
  let_successor_begin(); // now that x has come: what it gives may be the successor's h (few_rows_nf4.cu)
  const bf16 *x[COUNT];
  float sums[COUNT] = {};
#pragma unroll
  for (int r = 0; r < COUNT; r++) // rows past the last repeat it, and are not stored
    x[r] = row<bf16>(f.x, min(first + r, (int)f.x.rows - 1));
  constexpr int DEPTH = COUNT == 1 ? 5 : 1; // stretches on their way at once
  const int step = blockDim.x * 8;
  for (int start = threadIdx.x * 8; start < columns; start += DEPTH * step) {
    vec<float, 4> low[DEPTH], high[DEPTH];
    vec<uint32_t, 4> values[DEPTH][COUNT]; // pairs of bfloat16
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      const int k = start + d * step;
      if (k < columns) {
        low[d] = *(const vec<float, 4> *)(weights + k), high[d] = *(const vec<float, 4> *)(weights + k + 4);
#pragma unroll
        for (int r = 0; r < COUNT; r++)
          values[d][r] = *(const vec<uint32_t, 4> *)(x[r] + k);
      }
    }
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      if (start + d * step >= columns)
        break;
#pragma unroll
      for (int r = 0; r < COUNT; r++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const uint32_t pair = values[d][r].at[i / 2];
          const float value = __uint_as_float(i % 2 ? pair & 0xffff0000u : pair << 16);
          sums[r] = fmaf(i < 4 ? low[d].at[i % 4] : high[d].at[i % 4], value, sums[r]);
        }
    }
  }
  __shared__ float shared[COUNT][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int r = 0; r < COUNT; r++) {
    const float sum = warp_reduce<sum_of>(sums[r]);
    if (lane == 0)
      shared[r][warp] = sum;
  }
  __syncthreads();
  const int r = warp;
  if (r >= COUNT || first + r >= f.x.rows)
    return;
  const float sum = warp_reduce<sum_of>(lane < warps ? shared[r][lane] : 0.0f);
  if (lane == 0)
    finish<bf16>(f, f.part[p], first + r, j, sum);
}

KERNEL __launch_bounds__(512) few_rows_short_1(const __grid_constant__ few_rows f) { short_layer<1>(f); }
KERNEL __launch_bounds__(512) few_rows_short_8(const __grid_constant__ few_rows f) { short_layer<8>(f); }

// MARK: Adapters by row

// h[r, c] = 0 where owners[c] is not adapters[r]. A thread an element.
template <typename T> DEVICE void select(matrix h, const int32_t *owners, const int32_t *adapters) {
  let_successor_begin();
  wait_for_predecessors();
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= h.rows * h.columns)
    return;
  const int64_t r = i / h.columns, c = i % h.columns;
  if (owners[c] != adapters[r])
    row<T>(h, r)[c] = from_float<T>(0.0f);
}

KERNEL select_adapters_f32(matrix h, const int32_t *owners, const int32_t *adapters) {
  select<float>(h, owners, adapters);
}
KERNEL select_adapters_bf16(matrix h, const int32_t *owners, const int32_t *adapters) {
  select<bf16>(h, owners, adapters);
}
