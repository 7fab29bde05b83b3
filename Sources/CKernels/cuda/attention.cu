// Attention over packed sequences for every device, dtype and head size: FlashAttention-2 (Dao,
// arXiv:2307.08691), forward by algorithm 1, backward by algorithm 2 with dQ in a pass of its own, so that
// every sum has one order. Products are float: cuDNN's kernels serve bfloat16 where they can.
#include "attention_tiles.cuh"

// Grid: tiles of queries (as many as there can be), heads.
template <typename T, int WIDTH> DEVICE void forward(const attention &a) {
  __shared__ scratch shared;
  // The last tiles of a sequence have the most keys: they start first.
  const tile t = find_tile<false>(a, gridDim.x - 1 - blockIdx.x);
  if (t.exists)
    attend<T, WIDTH>(a, t, packed_keys<T>{a}, shared);
}

// MARK: Backward
//
// With P = exp(scale * Q Kᵀ - L) and D = rowsum(dO * O), both per query:
//   dV = Pᵀ dO, dP = dO Vᵀ, dS = P * (dP - D) * scale, dQ = dS K, dK = dSᵀ Q.

// delta (Tq, heads) = rowsum(dO * O). A warp for each row and head.
template <typename T>
DEVICE void row_dots(const matrix &o, const matrix &d_o, int heads, int64_t head_size, float *delta) {
  const int64_t index = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (index >= o.rows * heads)
    return;
  const T *x = row<T>(o, index / heads) + index % heads * head_size;
  const T *y = row<T>(d_o, index / heads) + index % heads * head_size;
  float sum = 0;
  for (int64_t c = threadIdx.x % 32; c < head_size; c += 32)
    sum += to_float(x[c]) * to_float(y[c]);
  sum = warp_reduce<sum_of>(sum);
  if (threadIdx.x % 32 == 0)
    delta[index] = sum;
}

// Grid: tiles of queries (as many as there can be), heads.
template <typename T, int WIDTH>
DEVICE void backward_queries(const attention &a, const gradients &g, const float *delta) {
  __shared__ scratch shared;
  const tile t = find_tile<false>(a, gridDim.x - 1 - blockIdx.x);
  if (!t.exists)
    return;
  const segment s = t.of;
  const int head = blockIdx.y, kv = head / (a.heads / a.kv_heads), count = min(TILE, s.q_count - t.start);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int64_t D = a.head_size, first_row = s.q_start + t.start;
  const head_rows<T> q = rows_of<T>(a.q, first_row, count, head, D);
  const head_rows<T> d_o = rows_of<T>(g.d_o, first_row, count, head, D);
  const range keys = keys_of(a, s, t.start);
  float sums[4][WIDTH], row_logsumexp[4], row_delta[4];
  clear(sums);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int64_t at = (first_row + min(ty * 4 + i, count - 1)) * a.heads + head;
    row_logsumexp[i] = a.logsumexp[at], row_delta[i] = delta[at];
  }

  for (int key = keys.low; key < keys.high; key += TILE) {
    const head_rows<T> k = rows_of<T>(a.k, s.k_start + key, min(TILE, s.k_count - key), kv, D);
    const head_rows<T> v = rows_of<T>(a.v, s.k_start + key, k.count, kv, D);
    float scores[4][4], d_scores[4][4];
    multiply_rows(q, k, shared, scores);
    multiply_rows(d_o, v, shared, d_scores);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const bool seen = sees(a, s, t.start + ty * 4 + i, key + tx * 4 + j);
        const float p = seen ? expf(scores[i][j] * (float)a.scale - row_logsumexp[i]) : 0;
        d_scores[i][j] = p * (d_scores[i][j] - row_delta[i]) * (float)a.scale;
      }
    put_weights(d_scores, shared);
    accumulate(k, shared, sums);
  }
  const float one[4] = {1, 1, 1, 1};
  store<T>(sums, one, g.d_q, first_row, count, head, D);
}

// Grid: tiles of keys (as many as there can be), key-value heads. Scores are held transposed, keys by
// queries.
template <typename T, int WIDTH>
DEVICE void backward_keys(const attention &a, const gradients &g, const float *delta) {
  __shared__ scratch shared;
  const tile t = find_tile<true>(a, blockIdx.x);
  if (!t.exists)
    return;
  const segment s = t.of;
  const int kv = blockIdx.y, group = a.heads / a.kv_heads, count = min(TILE, s.k_count - t.start);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int64_t D = a.head_size;
  const head_rows<T> k = rows_of<T>(a.k, s.k_start + t.start, count, kv, D);
  const head_rows<T> v = rows_of<T>(a.v, s.k_start + t.start, count, kv, D);
  const range queries = queries_of(a, s, t.start);
  float d_k[4][WIDTH], d_v[4][WIDTH];
  clear(d_k);
  clear(d_v);

  for (int head = kv * group; head < (kv + 1) * group; head++) {
    for (int query = queries.low; query < queries.high; query += TILE) {
      const int64_t first_row = s.q_start + query;
      const head_rows<T> q = rows_of<T>(a.q, first_row, min(TILE, s.q_count - query), head, D);
      const head_rows<T> d_o = rows_of<T>(g.d_o, first_row, q.count, head, D);
      float p[4][4], d_scores[4][4];
      multiply_rows(k, q, shared, p);
      multiply_rows(v, d_o, shared, d_scores);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int64_t at = (first_row + min(tx * 4 + j, q.count - 1)) * a.heads + head;
        const float column_logsumexp = a.logsumexp[at], column_delta = delta[at];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const bool seen = sees(a, s, query + tx * 4 + j, t.start + ty * 4 + i);
          p[i][j] = seen ? expf(p[i][j] * (float)a.scale - column_logsumexp) : 0;
          d_scores[i][j] = p[i][j] * (d_scores[i][j] - column_delta) * (float)a.scale;
        }
      }
      put_weights(p, shared);
      accumulate(d_o, shared, d_v);
      put_weights(d_scores, shared);
      accumulate(q, shared, d_k);
    }
  }
  const float one[4] = {1, 1, 1, 1};
  store<T>(d_k, one, g.d_k, s.k_start + t.start, count, kv, D);
  store<T>(d_v, one, g.d_v, s.k_start + t.start, count, kv, D);
}

// MARK: Kernels, by dtype and the greatest head size

#define ATTENTION(dtype, T, size)                                                                            \
  KERNEL __launch_bounds__(THREADS) attention_##dtype##_##size(attention a) { forward<T, size / 16>(a); }    \
  KERNEL __launch_bounds__(THREADS)                                                                          \
      attention_backward_queries_##dtype##_##size(attention a, gradients g, const float *delta) {            \
    backward_queries<T, size / 16>(a, g, delta);                                                             \
  }                                                                                                          \
  KERNEL __launch_bounds__(THREADS)                                                                          \
      attention_backward_keys_##dtype##_##size(attention a, gradients g, const float *delta) {               \
    backward_keys<T, size / 16>(a, g, delta);                                                                \
  }

ATTENTION(f32, float, 64)
ATTENTION(f32, float, 128)
ATTENTION(f32, float, 256)
ATTENTION(bf16, bf16, 64)
ATTENTION(bf16, bf16, 128)
ATTENTION(bf16, bf16, 256)

KERNEL attention_row_dots_f32(matrix o, matrix d_o, int heads, int64_t head_size, float *delta) {
  row_dots<float>(o, d_o, heads, head_size, delta);
}
KERNEL attention_row_dots_bf16(matrix o, matrix d_o, int heads, int64_t head_size, float *delta) {
  row_dots<bf16>(o, d_o, heads, head_size, delta);
}
