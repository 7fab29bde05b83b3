// Softmax cross-entropy and its gradient: ../softmax.c on the device. A block of threads takes a row.
#include "common.cuh"

// The sum of exponentials so far, relative to the greatest value so far (Milakov & Gimelshein,
// arXiv:1805.02867).
struct partial {
  float greatest, sum;
};

DEVICE partial merge(partial a, partial b) {
  float greatest = fmaxf(a.greatest, b.greatest);
  if (greatest == max_of::neutral())
    return {greatest, 0};
  return {greatest, a.sum * expf(a.greatest - greatest) + b.sum * expf(b.greatest - greatest)};
}

// The merge over a block, in one order; the same in all threads.
DEVICE partial block_merge(partial p) {
  __shared__ partial of_warp[32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    p = merge(
        p, {__shfl_xor_sync(0xffffffffu, p.greatest, offset), __shfl_xor_sync(0xffffffffu, p.sum, offset)});
  if (threadIdx.x % 32 == 0)
    of_warp[threadIdx.x / 32] = p;
  __syncthreads();
  p = threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : partial{max_of::neutral(), 0};
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    p = merge(
        p, {__shfl_xor_sync(0xffffffffu, p.greatest, offset), __shfl_xor_sync(0xffffffffu, p.sum, offset)});
  return p;
}

// logsumexp[row] = log(sum exp(logits[row])), loss[row] = logsumexp[row] - logits[row, label], 0 without a
// label
template <typename T, int V>
DEVICE void cross_entropy(matrix logits, const int32_t *labels, float *logsumexp, float *loss) {
  int64_t r = blockIdx.x;
  const T *values = row<T>(logits, r);
  partial p = {max_of::neutral(), 0};
  for (int64_t c = (int64_t)threadIdx.x * V; c < logits.columns; c += (int64_t)blockDim.x * V) {
    vec<T, V> u = *(const vec<T, V> *)(values + c);
    float greatest = to_float(u.at[0]), sum = 0;
#pragma unroll
    for (int i = 1; i < V; i++)
      greatest = fmaxf(greatest, to_float(u.at[i]));
#pragma unroll
    for (int i = 0; i < V; i++)
      sum += expf(to_float(u.at[i]) - greatest);
    p = merge(p, {greatest, sum});
  }
  p = block_merge(p);
  if (threadIdx.x != 0)
    return;
  float total = p.greatest + logf(p.sum);
  int32_t label = labels[r];
  logsumexp[r] = total;
  loss[r] = label < 0 ? 0.0f : total - to_float(values[label]);
}

// d_logits = row_weight * (softmax - onehot); a row without a label gets zeros. d_logits may begin where
// logits does with elements of half the size: a tile is read by all before any of it is written, and writing
// never gets ahead of reading.
template <typename T, typename D, int V>
DEVICE void cross_entropy_backward(matrix logits, const int32_t *labels, const float *logsumexp,
                                   const float *row_weight, matrix d_logits) {
  int64_t r = blockIdx.x;
  const T *values = row<T>(logits, r);
  D *out = row<D>(d_logits, r);
  int32_t label = labels[r];
  float total = logsumexp[r], weight = label < 0 ? 0.0f : row_weight[r];
  int64_t tile = (int64_t)blockDim.x * V;
  for (int64_t first = 0; first < logits.columns; first += tile) {
    int64_t c = first + (int64_t)threadIdx.x * V;
    vec<D, V> d;
    if (c < logits.columns) {
      vec<T, V> u = *(const vec<T, V> *)(values + c);
#pragma unroll
      for (int i = 0; i < V; i++) {
        float probability = expf(to_float(u.at[i]) - total) - (c + i == label ? 1.0f : 0.0f);
        d.at[i] = from_float<D>(weight == 0.0f ? 0.0f : weight * probability);
      }
    }
    __syncthreads();
    if (c < logits.columns)
      *(vec<D, V> *)(out + c) = d;
  }
}

#define LOSS(T, NAME, V)                                                                                     \
  KERNEL cross_entropy_##NAME##_x##V(matrix logits, const int32_t *labels, float *logsumexp, float *loss) {  \
    cross_entropy<T, V>(logits, labels, logsumexp, loss);                                                    \
  }
#define BACKWARD(T, D, NAME, V)                                                                              \
  KERNEL cross_entropy_backward_##NAME##_x##V(matrix logits, const int32_t *labels, const float *logsumexp,  \
                                              const float *row_weight, matrix d_logits) {                    \
    cross_entropy_backward<T, D, V>(logits, labels, logsumexp, row_weight, d_logits);                        \
  }

LOSS(float, f32, 4)
LOSS(float, f32, 1)
LOSS(bf16, bf16, 4)
LOSS(bf16, bf16, 1)
BACKWARD(float, float, f32_f32, 4)
BACKWARD(float, float, f32_f32, 1)
BACKWARD(float, bf16, f32_bf16, 4)
BACKWARD(float, bf16, f32_bf16, 1)
BACKWARD(bf16, bf16, bf16_bf16, 4)
BACKWARD(bf16, bf16, bf16_bf16, 1)
