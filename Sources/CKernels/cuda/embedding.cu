// Embedding, its gradient, and sums over rows: ../embedding.c and ../column_sum.c on the device.
#include "weights.cuh"

// y[t] = w[ids[t]]; a thread decodes eight elements.
template <typename T> DEVICE void embedding(const int32_t *ids, const weight &w, matrix y) {
  int64_t c = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 8;
  if (c >= y.columns)
    return;
  int count = (int)(y.columns - c < 8 ? y.columns - c : 8);
  for (int64_t r = blockIdx.y; r < y.rows; r += gridDim.y) {
    float values[8];
    decode8(w, ids[r], c, count, values);
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (i < count)
        row<T>(y, r)[c + i] = from_float<T>(values[i]);
  }
}

// d_weight[ids[t]] += dy[t] in the order of t; a thread takes a column.
template <typename T> DEVICE void embedding_backward(matrix dy, const int32_t *ids, float *d_weight) {
  int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= dy.columns)
    return;
  for (int64_t r = 0; r < dy.rows; r++)
    if (ids[r] >= 0)
      d_weight[ids[r] * dy.columns + c] += to_float(row<T>(dy, r)[c]);
}

// sum[c] += sum over rows of x[r, c]. A block takes 32 columns; its 32 warps share the rows.
template <typename T> DEVICE void column_sum(matrix x, float *sum) {
  __shared__ float partial[32][33];
  int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x % 32;
  int slice = threadIdx.x / 32;
  float value = 0;
  if (c < x.columns)
    for (int64_t r = slice; r < x.rows; r += 32)
      value += to_float(row<T>(x, r)[c]);
  partial[slice][threadIdx.x % 32] = value;
  __syncthreads();
  if (slice != 0 || c >= x.columns)
    return;
  float total = 0;
  for (int i = 0; i < 32; i++)
    total += partial[i][threadIdx.x];
  sum[c] += total;
}

#define OPERATIONS(T, NAME)                                                                                  \
  KERNEL embedding_##NAME(const int32_t *ids, weight w, matrix y) { embedding<T>(ids, w, y); }               \
  KERNEL embedding_backward_##NAME(matrix dy, const int32_t *ids, float *d_weight) {                         \
    embedding_backward<T>(dy, ids, d_weight);                                                                \
  }                                                                                                          \
  KERNEL column_sum_##NAME(matrix x, float *sum) { column_sum<T>(x, sum); }

OPERATIONS(float, f32)
OPERATIONS(bf16, bf16)
