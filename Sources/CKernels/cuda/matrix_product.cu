// Matrix products where cuBLASLt has none, and the last step of those that are summed up in float.
#include "weights.cuh"

// MARK: D = alpha * A B + addend + bias
//
// A(i, k) = a[i * a_row + k * a_k], B(k, j) = b[k * b_k + j * b_column]: any transposition, any stride. Each
// block makes a tile of 64 by 64, each of its 256 threads 4 by 4 of it; every element is one sum in the order
// of k. For operands that no tensor core can read (odd strides), not for speed.

enum { TILE = 64, DEPTH = 16 };

// Fills tile[k][i] with the operand's elements (first + i, k0 + k), zeros outside. Neighbouring threads read
// along the contiguous dimension.
template <typename T>
DEVICE void load_tile(float tile[DEPTH][TILE + 1], const T *from, int64_t along, int64_t along_k,
                      int64_t first, int64_t count, int64_t k0, int64_t k) {
  for (int index = threadIdx.x; index < TILE * DEPTH; index += 256) {
    const int i = along_k == 1 ? index / DEPTH : index % TILE;
    const int depth = along_k == 1 ? index % DEPTH : index / TILE;
    const bool inside = first + i < count && k0 + depth < k;
    tile[depth][i] = inside ? to_float(from[(first + i) * along + (k0 + depth) * along_k]) : 0.0f;
  }
}

template <typename T, typename D>
DEVICE void gemm(int64_t m, int64_t n, int64_t k, float alpha, const T *a, int64_t a_row, int64_t a_k,
                 const T *b, int64_t b_k, int64_t b_column, const D *bias, const D *addend,
                 int64_t addend_stride, D *out, int64_t stride) {
  __shared__ float a_tile[DEPTH][TILE + 1], b_tile[DEPTH][TILE + 1];
  const int64_t row = (int64_t)blockIdx.y * TILE, column = (int64_t)blockIdx.x * TILE;
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;
  float sum[4][4] = {};
  for (int64_t k0 = 0; k0 < k; k0 += DEPTH) {
    __syncthreads();
    load_tile(a_tile, a, a_row, a_k, row, m, k0, k);
    load_tile(b_tile, b, b_column, b_k, column, n, k0, k);
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < DEPTH; depth++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          sum[i][j] += a_tile[depth][y + 16 * i] * b_tile[depth][x + 16 * j];
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int64_t r = row + y + 16 * i, c = column + x + 16 * j;
      if (r >= m || c >= n)
        continue;
      float value = alpha * sum[i][j];
      if (bias)
        value += to_float(bias[c]);
      if (addend)
        value += to_float(addend[r * addend_stride + c]);
      out[r * stride + c] = from_float<D>(value);
    }
}

#define GEMM(name, T, D)                                                                                     \
  KERNEL __launch_bounds__(256)                                                                              \
      name(int64_t m, int64_t n, int64_t k, float alpha, const T *a, int64_t a_row, int64_t a_k, const T *b, \
           int64_t b_k, int64_t b_column, const D *bias, const D *addend, int64_t addend_stride, D *out,     \
           int64_t stride) {                                                                                 \
    gemm(m, n, k, alpha, a, a_row, a_k, b, b_k, b_column, bias, addend, addend_stride, out, stride);         \
  }
GEMM(gemm_f32_f32, float, float)
GEMM(gemm_bf16_f32, bf16, float)
GEMM(gemm_bf16_bf16, bf16, bf16)

// MARK: out = sums + bias + addend, rounded once

// N elements at a time; N > 1: all rows begin at multiples of their N elements' size, as does the bias, and
// columns is a multiple of N. Blocks walk down the rows, gridDim.y apart.
template <typename T, int N>
DEVICE void store_sums(int64_t rows, int64_t columns, const float *sums, int64_t sums_stride,
                       const float *bias, const T *addend, int64_t addend_stride, T *out, int64_t stride) {
  const int64_t column = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (column >= columns)
    return;
  vec<float, N> shift = {};
  if (bias)
    shift = *(const vec<float, N> *)(bias + column);
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const auto sum = *(const vec<float, N> *)(sums + row * sums_stride + column);
    vec<T, N> result, added;
    if (addend)
      added = *(const vec<T, N> *)(addend + row * addend_stride + column);
    for (int i = 0; i < N; i++) {
      const float value = sum.at[i] + shift.at[i];
      result.at[i] = from_float<T>(addend ? value + to_float(added.at[i]) : value);
    }
    *(vec<T, N> *)(out + row * stride + column) = result;
  }
}

KERNEL store_sums_bf16(int64_t rows, int64_t columns, const float *sums, int64_t sums_stride,
                       const float *bias, const bf16 *addend, int64_t addend_stride, bf16 *out,
                       int64_t stride) {
  const bool in_fours = columns % 4 == 0 && sums_stride % 4 == 0 && stride % 4 == 0 &&
                        addend_stride % 4 == 0 && is_aligned(sums, 16) && is_aligned(bias, 16) &&
                        is_aligned(addend, 8) && is_aligned(out, 8);
  if (in_fours)
    store_sums<bf16, 4>(rows, columns, sums, sums_stride, bias, addend, addend_stride, out, stride);
  else
    store_sums<bf16, 1>(rows, columns, sums, sums_stride, bias, addend, addend_stride, out, stride);
}
