// Dropout with the masks of ../dropout.c, to the bit.
#include "philox.cuh"

// A thread takes N neighbouring elements, those of N / 4 counters, V of them at one access. `counter`: the
// seed, and the micro-batch's number, which stands above the layer's in the stream. `first_row`: x's first
// row among the micro-batch's.
template <typename T, int N, int V>
DEVICE void dropout(matrix x, uint32_t threshold, float scale, uint64_t layer, const uint64_t *counter,
                    int64_t first_row, matrix y) {
  int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (first >= x.columns)
    return;
  uint64_t seed = counter[0], stream = counter[1] << 16 | layer;
  for (int64_t r = blockIdx.y; r < x.rows; r += gridDim.y) {
    const T *from = row<T>(x, r) + first;
    T *to = row<T>(y, r) + first;
    vec<T, V> part[N / V];
#pragma unroll
    for (int i = 0; i < N; i += V)
      if (first + i < x.columns)
        part[i / V] = *(const vec<T, V> *)(from + i);
    uint32_t words[N];
#pragma unroll
    for (int i = 0; i < N; i += 4)
      philox(seed, ((uint64_t)(first_row + r) << 32) + (first + i) / 4, stream, words + i);
#pragma unroll
    for (int i = 0; i < N; i++) {
      T &element = part[i / V].at[i % V];
      element = from_float<T>(words[i] >= threshold ? to_float(element) * scale : 0.0f);
    }
#pragma unroll
    for (int i = 0; i < N; i += V)
      if (first + i < x.columns)
        *(vec<T, V> *)(to + i) = part[i / V];
  }
}

#define DROPOUT(T, NAME, N, V)                                                                               \
  KERNEL dropout_##NAME##_x##V(matrix x, uint32_t threshold, float scale, uint64_t layer,                    \
                               const uint64_t *counter, int64_t first_row, matrix y) {                       \
    dropout<T, N, V>(x, threshold, scale, layer, counter, first_row, y);                                     \
  }

DROPOUT(float, f32, 4, 4)
DROPOUT(float, f32, 4, 1)
DROPOUT(bf16, bf16, 8, 8)
DROPOUT(bf16, bf16, 8, 1)
