// Attention to keys and values in pages (PagedAttention.swift): by tiles (attention_tiles.cuh), and of single
// queries (paged_query.cuh) for every device and dtype; paged_attention_mma.cu has those of bfloat16 on
// tensor cores.
#include "paged_query.cuh"

// MARK: More queries

// Keys, or values, of one head from `first` on.
template <typename T> struct paged_rows {
  typedef T element;
  const paged_attention &a;
  const T *data;
  int64_t sequence;
  int first, count, columns;
  bool in_vectors;

  __device__ __forceinline__ const T *at(int row) const {
    return data + key_offset(a, sequence, first + row);
  }
};

template <typename T> struct paged_keys {
  const paged_attention &a;

  __device__ __forceinline__ paged_rows<T> rows(const void *data, const tile &t, int key, int count,
                                                int kv) const {
    const int64_t D = a.tiles.head_size;
    const bool in_vectors = ((uint64_t)data | (uint64_t)(a.page_stride * sizeof(T))) % 16 == 0 && D % 8 == 0;
    return paged_rows<T>{a, (const T *)data + kv * D, t.sequence, key, count, (int)D, in_vectors};
  }
  __device__ __forceinline__ paged_rows<T> k(const tile &t, int key, int count, int kv) const {
    return rows(a.k, t, key, count, kv);
  }
  __device__ __forceinline__ paged_rows<T> v(const tile &t, int key, int count, int kv) const {
    return rows(a.v, t, key, count, kv);
  }
};

// Grid: tiles of queries (as many as there can be), heads. Sequences of fewer than `least` queries are left
// out.
template <typename T, int WIDTH> DEVICE void attend_to_pages(const paged_attention &a, int least) {
  __shared__ scratch shared;
  const tile t = find_tile<false>(a.tiles, gridDim.x - 1 - blockIdx.x, least);
  if (t.exists)
    attend<T, WIDTH>(a.tiles, t, paged_keys<T>{a}, shared);
}

// MARK: One query

// What a block has found for its heads.
struct findings {
  float greatest[HEADS], weight[HEADS]; // of the scores; sum of the exponentials relative to it
  float sums[2 * HEADS][256];           // by head and parity of the column; thread
};

// The head size is a multiple of 8, rows begin at multiples of 16 bytes.
template <typename T> struct single_query : paged_query {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // Of the sums: thread holds columns 2 pair, 2 pair + 1 of every `groups`-th share of the keys.
  int pair, group, groups, keys_of_group;
  float sums[HEADS][2];

  __device__ __forceinline__ single_query(const paged_attention &a) : paged_query(a) {}

  __device__ __forceinline__ void share_work() {
    groups = 256 / (D / 2);
    pair = threadIdx.x % (D / 2);
    group = threadIdx.x / (D / 2);
    keys_of_group = ((KEYS + groups - 1) / groups + 3) / 4 * 4;
#pragma unroll
    for (int h = 0; h < HEADS; h++)
      sums[h][0] = sums[h][1] = 0;
  }

  __device__ __forceinline__ void load_queries(float (*q)[256]) const {
    const T *from = query<T>();
    for (int i = threadIdx.x; i < count * D; i += 256)
      q[i / D][i % D] = to_float(from[i]) * scale();
  }

  // Values are on their way while scores are computed.
  __device__ __forceinline__ void prefetch_values(const int64_t *offsets, int n) const {
    const int lines = (D * (int)sizeof(T) + 127) / 128;
    for (int i = threadIdx.x; i < n * lines; i += 256)
      asm volatile("prefetch.global.L2 [%0];" ::"l"((const T *)a.v + offsets[i / lines] +
                                                    i % lines * (128 / (int)sizeof(T))));
  }

  // Eight lanes for each key, each with every eighth 8 columns.
  __device__ __forceinline__ void score(const int64_t *offsets, int n, const float (*q)[256],
                                        float (*scores)[KEYS]) const {
    vec<T, 8> k[2][4];
#pragma unroll
    for (int turn = 0; turn < 2; turn++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = turn * 32 + warp * 4 + lane / 8, c = (lane % 8 + 8 * i) * 8;
        if (key < n && c < D)
          k[turn][i] = *(const vec<T, 8> *)((const T *)a.k + offsets[key] + c);
      }
#pragma unroll
    for (int turn = 0; turn < 2; turn++) {
      const int key = turn * 32 + warp * 4 + lane / 8;
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        if (h >= count)
          break;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int c = (lane % 8 + 8 * i) * 8;
          if (c >= D)
            break;
          const auto low = *(const vec<float, 4> *)&q[h][c], high = *(const vec<float, 4> *)&q[h][c + 4];
#pragma unroll
          for (int j = 0; j < 8; j++)
            sum = fmaf(to_float(k[turn][i].at[j]), j < 4 ? low.at[j] : high.at[j - 4], sum);
        }
#pragma unroll
        for (int offset = 4; offset > 0; offset /= 2)
          sum += __shfl_xor_sync(0xffffffffu, sum, offset);
        if (lane % 8 == 0)
          scores[h][key] = key < n ? sum : -infinity();
      }
    }
  }

  // scores[h] become powers of 2 of score - greatest, by warp h. Returns how much less the sums before count
  // now.
  __device__ __forceinline__ float soften(float *scores, float &greatest, float &weight) const {
    const float a = scores[lane], b = scores[lane + 32];
    const float before = greatest;
    greatest = fmaxf(before, warp_reduce<max_of>(fmaxf(a, b)));
    const float shrink = exp2f(before - greatest), p = exp2f(a - greatest), r = exp2f(b - greatest);
    weight = weight * shrink + warp_reduce<sum_of>(p + r);
    scores[lane] = p, scores[lane + 32] = r;
    return shrink;
  }

  __device__ __forceinline__ void accumulate(const int64_t *offsets, int n, const float (*p)[KEYS],
                                             const float *shrink) {
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
      if (h >= count)
        break;
      sums[h][0] *= shrink[h], sums[h][1] *= shrink[h];
    }
    if (group >= groups)
      return;
    const int end = min((group + 1) * keys_of_group, n);
#pragma unroll 2
    for (int key = group * keys_of_group; key < end; key += 4) {
      float v[4][2] = {};
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (key + i < end) {
          const auto u = *(const vec<T, 2> *)((const T *)a.v + offsets[key + i] + 2 * pair);
          v[i][0] = to_float(u.at[0]), v[i][1] = to_float(u.at[1]);
        }
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        if (h >= count)
          break;
        const auto weights = *(const vec<float, 4> *)&p[h][key];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          sums[h][0] = fmaf(weights.at[i], v[i][0], sums[h][0]);
          sums[h][1] = fmaf(weights.at[i], v[i][1], sums[h][1]);
        }
      }
    }
  }

  __device__ __forceinline__ void attend(findings &found) {
    __shared__ __align__(16) float q[HEADS][256];
    __shared__ __align__(16) float scores[HEADS][KEYS];
    __shared__ float shrink[HEADS];
    __shared__ int64_t offsets[KEYS];
    load_queries(q);
    float greatest = -infinity(), weight = 0; // of head `warp`
    for (int key = range.low; key < range.high; key += KEYS) {
      const int n = min(KEYS, range.high - key);
      __syncthreads(); // the last keys' scores and offsets are read
      if (threadIdx.x < n)
        offsets[threadIdx.x] = key_offset(a, sequence, key + threadIdx.x) + (int64_t)kv * D;
      __syncthreads();
      prefetch_values(offsets, n);
      score(offsets, n, q, scores);
      __syncthreads();
      if (warp < count) {
        const float less = soften(scores[warp], greatest, weight);
        if (lane == 0)
          shrink[warp] = less;
      }
      __syncthreads();
      accumulate(offsets, n, scores, shrink);
    }
    if (warp < count && lane == 0)
      found.greatest[warp] = greatest, found.weight[warp] = weight;
    if (group < groups) {
#pragma unroll
      for (int h = 0; h < HEADS; h++)
        found.sums[2 * h][threadIdx.x] = sums[h][0], found.sums[2 * h + 1][threadIdx.x] = sums[h][1];
    }
    __syncthreads();
  }

  __device__ __forceinline__ float result(const findings &found, int h, int c) const {
    float total = 0;
    for (int g = 0; g < groups; g++)
      total += found.sums[2 * h + c % 2][g * (D / 2) + c / 2];
    return total / found.weight[h];
  }

  __device__ __forceinline__ void run() {
    __shared__ findings found;
    share_work();
    attend(found);
    if (is_alone()) {
      for (int i = threadIdx.x; i < count * D; i += 256)
        out<T>()[i] = from_float<T>(result(found, i / D, i % D));
      return;
    }
    for (int i = threadIdx.x; i < count * D; i += 256)
      partial(i / D, blockIdx.x)[i % D] = result(found, i / D, i % D);
    if (threadIdx.x < count)
      partial(threadIdx.x, blockIdx.x)[D] = found.greatest[threadIdx.x] + log2f(found.weight[threadIdx.x]);
    if (arrives_last())
      merge<T>();
  }
};

template <typename T> DEVICE void attend_with_one(const paged_attention &a) {
  let_successor_begin();
  wait_for_predecessors();
  single_query<T> query(a);
  if (query.begin())
    query.run();
}

// MARK: Kernels, by dtype and the greatest head size

#define PAGED_ATTENTION(dtype, T, size)                                                                      \
  KERNEL __launch_bounds__(THREADS)                                                                          \
      paged_attention_##dtype##_##size(const __grid_constant__ paged_attention a, int least) {               \
    attend_to_pages<T, size / 16>(a, least);                                                                 \
  }

PAGED_ATTENTION(f32, float, 64)
PAGED_ATTENTION(f32, float, 128)
PAGED_ATTENTION(f32, float, 256)
PAGED_ATTENTION(bf16, bf16, 64)
PAGED_ATTENTION(bf16, bf16, 128)
PAGED_ATTENTION(bf16, bf16, 256)

KERNEL __launch_bounds__(256) paged_attention_single_f32(const __grid_constant__ paged_attention a) {
  attend_with_one<float>(a);
}
KERNEL __launch_bounds__(256) paged_attention_single_bf16(const __grid_constant__ paged_attention a) {
  attend_with_one<bf16>(a);
}
