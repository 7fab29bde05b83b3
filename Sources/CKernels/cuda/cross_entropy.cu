// Softmax cross-entropy and its gradient: ../softmax.c on the device. A block of threads takes a row.
#include "common.cuh"

// sw_vocabulary_slice of ../include/ops.h.
struct vocabulary_slice {
  int64_t first;
  int32_t is_last;
};

// The sum of exponentials so far, relative to the greatest value so far (Milakov & Gimelshein,
// arXiv:1805.02867). That begins at a finite number below every logit that counts, as on the CPU: a logit of
// -inf then adds exp(-inf) = 0, and a row of nothing else has the sum 0 and the logarithm -inf.
struct partial {
  float greatest = -1e30f, sum = 0;
};

DEVICE partial merge(partial a, partial b) {
  partial both;
  both.greatest = fmaxf(a.greatest, b.greatest);
  both.sum = a.sum * expf(a.greatest - both.greatest) + b.sum * expf(b.greatest - both.greatest);
  return both;
}

DEVICE partial warp_merge(partial p) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    partial other;
    other.greatest = __shfl_xor_sync(0xffffffffu, p.greatest, offset);
    other.sum = __shfl_xor_sync(0xffffffffu, p.sum, offset);
    p = merge(p, other);
  }
  return p;
}

// The merge over a block, in one order; the same in all threads.
DEVICE partial block_merge(partial p) {
  __shared__ float greatest[32], sum[32];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  p = warp_merge(p);
  if (lane == 0)
    greatest[warp] = p.greatest, sum[warp] = p.sum;
  __syncthreads();
  partial of_warp;
  if (lane < blockDim.x / 32)
    of_warp.greatest = greatest[lane], of_warp.sum = sum[lane];
  return warp_merge(of_warp);
}

// What a thread has under way at once: 16 logits of a row, V neighbours at a time, the block's threads side
// by side; 8 where they come one at a time.
template <typename T, int V> struct tile {
  enum { LOADS = V > 1 ? 16 / V : 8 };
  vec<T, V> part[LOADS];

  static __device__ __forceinline__ int64_t columns() { return (int64_t)blockDim.x * V * LOADS; }

  // The column of a part's first element, in the tile that begins at column `first`.
  static __device__ __forceinline__ int64_t column(int64_t first, int load) {
    return first + ((int64_t)load * blockDim.x + threadIdx.x) * V;
  }

  // Past the row's end, -inf.
  __device__ __forceinline__ void load(const T *values, int64_t first, int64_t count) {
#pragma unroll
    for (int l = 0; l < LOADS; l++) {
      int64_t c = column(first, l);
      if (c < count) {
        part[l] = *(const vec<T, V> *)(values + c);
      } else {
#pragma unroll
        for (int i = 0; i < V; i++)
          part[l].at[i] = from_float<T>(max_of::neutral());
      }
    }
  }
};

// p with a tile's logits: one exponential for each, and one for the sum so far.
template <typename T, int V> DEVICE partial add(partial p, const tile<T, V> &logits) {
  partial next = p;
#pragma unroll
  for (int l = 0; l < tile<T, V>::LOADS; l++)
#pragma unroll
    for (int i = 0; i < V; i++)
      next.greatest = fmaxf(next.greatest, to_float(logits.part[l].at[i]));
  next.sum *= expf(p.greatest - next.greatest);
#pragma unroll
  for (int l = 0; l < tile<T, V>::LOADS; l++)
#pragma unroll
    for (int i = 0; i < V; i++)
      next.sum += expf(to_float(logits.part[l].at[i]) - next.greatest);
  return next;
}

// logsumexp[row] = log(sum exp(logits[row])), loss[row] = logsumexp[row] - logits[row, label], 0 without a
// label. The logits may be a slice of the vocabulary's columns, which come from the first to the last: then
// logsumexp is that of the columns so far, and loss is -logits[row, label], or 0, until the last.
template <typename T, int V>
DEVICE void cross_entropy(matrix logits, vocabulary_slice slice, const int32_t *labels, float *logsumexp,
                          float *loss) {
  int64_t r = blockIdx.x;
  const T *values = row<T>(logits, r);
  partial p;
  tile<T, V> u, next;
  u.load(values, 0, logits.columns);
  for (int64_t first = 0; first < logits.columns; first += tile<T, V>::columns()) {
    next.load(values, first + tile<T, V>::columns(), logits.columns);
    p = add(p, u);
    u = next;
  }
  p = block_merge(p);
  if (threadIdx.x != 0)
    return;
  float of_label = 0;
  if (slice.first > 0) {
    partial before;
    before.greatest = fmaxf(before.greatest, logsumexp[r]);
    before.sum = expf(logsumexp[r] - before.greatest);
    p = merge(p, before);
    of_label = -loss[r];
  }
  float total = p.greatest + logf(p.sum);
  int64_t label = labels[r] - slice.first;
  if (label >= 0 && label < logits.columns)
    of_label = to_float(values[label]);
  logsumexp[r] = total;
  loss[r] = labels[r] < 0 ? 0.0f : (slice.is_last ? total : 0.0f) - of_label;
}

template <typename D, int V> DEVICE void clear(D *out, int64_t count) {
  vec<D, V> zeros;
#pragma unroll
  for (int i = 0; i < V; i++)
    zeros.at[i] = from_float<D>(0.0f);
  for (int64_t c = (int64_t)threadIdx.x * V; c < count; c += (int64_t)blockDim.x * V)
    *(vec<D, V> *)(out + c) = zeros;
}

// d_logits = row_weight * (softmax - onehot) of the vocabulary's columns from `first_column` on; a row
// without a label gets zeros. d_logits may begin where logits does with elements of half the size: a tile is
// read by all before any of its gradient is written, and writing never gets ahead of reading.
template <typename T, typename D, int V>
DEVICE void cross_entropy_backward(matrix logits, int64_t first_column, const int32_t *labels,
                                   const float *logsumexp, const float *row_weight, matrix d_logits) {
  int64_t r = blockIdx.x;
  const T *values = row<T>(logits, r);
  D *out = row<D>(d_logits, r);
  if (labels[r] < 0)
    return clear<D, V>(out, logits.columns);
  int64_t label = labels[r] - first_column;
  float total = logsumexp[r], weight = row_weight[r];
  tile<T, V> u, next;
  u.load(values, 0, logits.columns);
  for (int64_t first = 0; first < logits.columns; first += tile<T, V>::columns()) {
    if (sizeof(D) < sizeof(T))
      __syncthreads();
    next.load(values, first + tile<T, V>::columns(), logits.columns);
#pragma unroll
    for (int l = 0; l < tile<T, V>::LOADS; l++) {
      int64_t c = tile<T, V>::column(first, l);
      if (c >= logits.columns)
        break;
      vec<D, V> d;
#pragma unroll
      for (int i = 0; i < V; i++) {
        float probability = expf(to_float(u.part[l].at[i]) - total) - (c + i == label ? 1.0f : 0.0f);
        d.at[i] = from_float<D>(weight * probability);
      }
      *(vec<D, V> *)(out + c) = d;
    }
    u = next;
  }
}

// A block of 512 threads a row, at least two on a multiprocessor: chunks of a head's logits have few more
// rows than the device has multiprocessors.
#define ROW_KERNEL extern "C" __global__ __launch_bounds__(512, 2) void
#define LOSS(T, NAME, V)                                                                                     \
  ROW_KERNEL cross_entropy_##NAME##_x##V(matrix logits, vocabulary_slice slice, const int32_t *labels,       \
                                         float *logsumexp, float *loss) {                                    \
    cross_entropy<T, V>(logits, slice, labels, logsumexp, loss);                                             \
  }
#define BACKWARD(T, D, NAME, V)                                                                              \
  ROW_KERNEL cross_entropy_backward_##NAME##_x##V(matrix logits, int64_t first_column,                       \
                                                  const int32_t *labels, const float *logsumexp,             \
                                                  const float *row_weight, matrix d_logits) {                \
    cross_entropy_backward<T, D, V>(logits, first_column, labels, logsumexp, row_weight, d_logits);          \
  }

LOSS(float, f32, 4)
LOSS(float, f32, 1)
LOSS(bf16, bf16, 8)
LOSS(bf16, bf16, 1)
BACKWARD(float, float, f32_f32, 4)
BACKWARD(float, float, f32_f32, 1)
BACKWARD(float, bf16, f32_bf16, 4)
BACKWARD(float, bf16, f32_bf16, 1)
BACKWARD(bf16, bf16, bf16_bf16, 8)
BACKWARD(bf16, bf16, bf16_bf16, 1)
