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

enum { EMBEDDING_THREADS = 256, SCAN = 4 }; // ids that a thread looks at at once

// Whether one of ids[0..<end] is `id`. Every thread of the block must call it.
DEVICE bool occurs(const int32_t *ids, int64_t end, int32_t id) {
  for (int64_t first = 0; first < end; first += SCAN * blockDim.x) {
    bool found = false;
#pragma unroll
    for (int s = 0; s < SCAN; s++) {
      int64_t t = first + s * blockDim.x + threadIdx.x;
      found |= t < end && ids[t] == id;
    }
    if (__syncthreads_or(found))
      return true;
  }
  return false;
}

// Puts the places of `id` among the next SCAN * blockDim.x of ids[first..<end] into `places`, in order, and
// returns how many they are. Every thread of the block must call it.
DEVICE int find(const int32_t *ids, int64_t first, int64_t end, int32_t id, int32_t *places) {
  __shared__ uint32_t matches[SCAN * EMBEDDING_THREADS / 32];
  int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t match[SCAN], any = 0;
#pragma unroll
  for (int s = 0; s < SCAN; s++) {
    int64_t t = first + s * blockDim.x + threadIdx.x;
    match[s] = __ballot_sync(0xffffffffu, t < end && ids[t] == id);
    any |= match[s];
  }
  // Most tokens are rare. The barrier also ends all reading of what the last call found.
  if (!__syncthreads_or(any))
    return 0;
#pragma unroll
  for (int s = 0; s < SCAN; s++)
    if (lane == 0)
      matches[s * warps + warp] = match[s];
  __syncthreads();
  int count = 0;
  for (int i = 0; i < SCAN * warps; i++) {
    uint32_t those = matches[i];
    if (i % warps == warp && those >> lane & 1)
      places[count + __popc(those & ((1u << lane) - 1))] = (int32_t)(first + i * 32 + lane);
    count += __popc(those);
  }
  __syncthreads();
  return count;
}

// d_weight[ids[t]] += dy[t] in the order of t. A block takes a token at its first place, with all later ones,
// in a range of columns; V columns a thread.
template <typename T, int V> DEVICE void embedding_backward(matrix dy, const int32_t *ids, float *d_weight) {
  __shared__ int32_t places[SCAN * EMBEDDING_THREADS];
  enum { W = V < 4 ? V : 4 };
  int32_t id = ids[blockIdx.x];
  if (id < 0 || occurs(ids, blockIdx.x, id))
    return;
  int64_t c = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * V;
  bool is_inside = c < dy.columns;
  vec<float, W> *target = (vec<float, W> *)(d_weight + id * dy.columns + c), sum[V / W];
#pragma unroll
  for (int i = 0; i < V / W; i++)
    if (is_inside)
      sum[i] = target[i];
  for (int64_t first = blockIdx.x; first < dy.rows; first += SCAN * blockDim.x) {
    int count = find(ids, first, dy.rows, id, places);
    if (is_inside)
#pragma unroll 4
      for (int p = 0; p < count; p++) {
        vec<T, V> gradient = *(const vec<T, V> *)(row<T>(dy, places[p]) + c);
#pragma unroll
        for (int i = 0; i < V; i++)
          sum[i / W].at[i % W] += to_float(gradient.at[i]);
      }
  }
#pragma unroll
  for (int i = 0; i < V / W; i++)
    if (is_inside)
      target[i] = sum[i];
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
  KERNEL column_sum_##NAME(matrix x, float *sum) { column_sum<T>(x, sum); }

#define BACKWARD(T, NAME, V)                                                                                 \
  KERNEL embedding_backward_##NAME##_x##V(matrix dy, const int32_t *ids, float *d_weight) {                  \
    embedding_backward<T, V>(dy, ids, d_weight);                                                             \
  }

OPERATIONS(float, f32)
OPERATIONS(bf16, bf16)
BACKWARD(float, f32, 4)
BACKWARD(float, f32, 1)
BACKWARD(bf16, bf16, 8)
BACKWARD(bf16, bf16, 1)
