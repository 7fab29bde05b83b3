// Attention to keys and values in pages (PagedAttention.swift).
//
// One query: the keys are cut into ranges, of which a block takes one, for the query heads that share a
// key-value head; the last block of a sequence and head that arrives merges what they found, in order
// (arXiv:2311.01282). Where the ranges begin depends on the sequence alone. More queries:
// attention_tiles.cuh.
#include "attention_tiles.cuh"

struct paged_attention {
  attention tiles; // of which k, v and logsumexp are not used; k_start in the segments is 0
  const void *k, *v;
  int64_t page_stride; // elements
  const int32_t *pages;
  int32_t longest_pages, page_size; // entries of a sequence's row of `pages`; tokens of a page
  int32_t splits;                   // blocks that a sequence and head have: gridDim.x
  float *partials;
  uint32_t *arrivals; // by sequence and head, 0 before and after
};

DEVICE int64_t key_offset(const paged_attention &a, int64_t sequence, int key) {
  const int page = a.pages[sequence * a.longest_pages + key / a.page_size];
  return page * a.page_stride + (int64_t)(key % a.page_size) * a.tiles.kv_heads * a.tiles.head_size;
}

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

enum {
  HEADS = 8,       // query heads that a block takes together
  KEYS = 64,       // keys at a time
  MOST_SPLITS = 32 // ranges of a sequence: a warp merges them
};

struct range_of_keys {
  int low, high, index, count; // keys; which range of how many
};

DEVICE range_of_keys find_range(const paged_attention &a, int keys) {
  const int64_t window = a.tiles.window;
  const int low = window > 0 && keys > window ? (int)(keys - window) : 0;
  const int length = (keys - low + KEYS * MOST_SPLITS - 1) / (KEYS * MOST_SPLITS) * KEYS;
  const int start = low + blockIdx.x * length;
  return {start, min(start + length, keys), (int)blockIdx.x, (keys - low + length - 1) / length};
}

// What a block has found for its heads.
struct findings {
  float greatest[HEADS], weight[HEADS]; // of the scores; sum of the exponentials relative to it
  float sums[2 * HEADS][256];           // by head and parity of the column; thread
};

// Grid: ranges, heads in groups of at most HEADS that share keys, sequences. The head size is a multiple of
// 8, rows begin at multiples of 16 bytes.
template <typename T> struct single_query {
  const paged_attention &a;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int D, kv, head, count, q_row; // count heads from `head` on
  int64_t sequence;
  range_of_keys range;
  // Of the sums: thread holds columns 2 pair, 2 pair + 1 of every `groups`-th share of the keys.
  int pair, group, groups, keys_of_group;
  float sums[HEADS][2];

  __device__ __forceinline__ single_query(const paged_attention &a) : a(a) {}

  // Whether there is anything to do.
  __device__ __forceinline__ bool begin() {
    sequence = blockIdx.z;
    const segment s = a.tiles.segments[sequence];
    if (s.q_count != 1)
      return false;
    range = find_range(a, s.k_count);
    if (range.index >= range.count)
      return false;
    D = (int)a.tiles.head_size;
    q_row = s.q_start;
    const int sharing = a.tiles.heads / a.tiles.kv_heads, chunks = (sharing + HEADS - 1) / HEADS;
    kv = blockIdx.y / chunks;
    const int first = blockIdx.y % chunks * HEADS;
    head = kv * sharing + first;
    count = min(HEADS, sharing - first);
    groups = 256 / (D / 2);
    pair = threadIdx.x % (D / 2);
    group = threadIdx.x / (D / 2);
    keys_of_group = ((KEYS + groups - 1) / groups + 3) / 4 * 4;
#pragma unroll
    for (int h = 0; h < HEADS; h++)
      sums[h][0] = sums[h][1] = 0;
    return true;
  }

  __device__ __forceinline__ void load_queries(float (*q)[256]) const {
    const T *from = row<T>(a.tiles.q, q_row) + (int64_t)head * D;
    for (int i = threadIdx.x; i < count * D; i += 256)
      q[i / D][i % D] = to_float(from[i]) * (float)a.tiles.scale;
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

  // scores[h] become exp(score - greatest), by warp h. Returns how much less the sums before count now.
  __device__ __forceinline__ float soften(float *scores, float &greatest, float &weight) const {
    const float a = scores[lane], b = scores[lane + 32];
    const float before = greatest;
    greatest = fmaxf(before, warp_reduce<max_of>(fmaxf(a, b)));
    const float shrink = expf(before - greatest), p = expf(a - greatest), r = expf(b - greatest);
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

  __device__ __forceinline__ float sum(const findings &found, int h, int c) const {
    float total = 0;
    for (int g = 0; g < groups; g++)
      total += found.sums[2 * h + c % 2][g * (D / 2) + c / 2];
    return total;
  }

  // Where a range's findings of head `head` + h lie: D sums, the greatest score, the weight.
  __device__ __forceinline__ float *partial(int h, int index) const {
    return a.partials + ((sequence * a.tiles.heads + head + h) * a.splits + index) * (D + 4);
  }

  // Whether this block is the last of its sequence and head to bring its findings.
  __device__ __forceinline__ bool bring(const findings &found) const {
    for (int i = threadIdx.x; i < count * D; i += 256)
      partial(i / D, range.index)[i % D] = sum(found, i / D, i % D);
    if (threadIdx.x < count) {
      float *to = partial(threadIdx.x, range.index) + D;
      to[0] = found.greatest[threadIdx.x], to[1] = found.weight[threadIdx.x];
    }
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
      is_last = atomicInc(a.arrivals + sequence * gridDim.y + blockIdx.y, range.count - 1) == range.count - 1;
    __syncthreads();
    __threadfence();
    return is_last;
  }

  // Of all ranges, one head a warp.
  __device__ __forceinline__ void merge(T *out) const {
    if (warp >= count)
      return;
    float greatest = -infinity(), weight = 0;
    if (lane < range.count) {
      const float *from = partial(warp, lane) + D;
      greatest = __ldcg(from), weight = __ldcg(from + 1);
    }
    const float factor = expf(greatest - warp_reduce<max_of>(greatest));
    const float inverse = 1 / warp_reduce<sum_of>(weight * factor);
    for (int c = lane * 4; c < (D + 127) / 128 * 128; c += 128) {
      float total[4] = {};
#pragma unroll 8
      for (int s = 0; s < range.count; s++) {
        const float of_range = __shfl_sync(0xffffffffu, factor, s);
        if (c >= D)
          continue;
        const float4 u = __ldcg((const float4 *)(partial(warp, s) + c));
        total[0] = fmaf(of_range, u.x, total[0]), total[1] = fmaf(of_range, u.y, total[1]);
        total[2] = fmaf(of_range, u.z, total[2]), total[3] = fmaf(of_range, u.w, total[3]);
      }
      if (c < D) {
#pragma unroll
        for (int i = 0; i < 4; i++)
          out[warp * D + c + i] = from_float<T>(total[i] * inverse);
      }
    }
  }

  __device__ __forceinline__ void run() {
    __shared__ findings found;
    let_successor_begin();
    wait_for_predecessors();
    if (!begin())
      return;
    attend(found);
    T *out = row<T>(a.tiles.o, q_row) + (int64_t)head * D;
    if (range.count == 1) {
      for (int i = threadIdx.x; i < count * D; i += 256)
        out[i] = from_float<T>(sum(found, i / D, i % D) / found.weight[i / D]);
    } else if (bring(found)) {
      merge(out);
    }
  }
};

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
  single_query<float>(a).run();
}
KERNEL __launch_bounds__(256) paged_attention_single_bf16(const __grid_constant__ paged_attention a) {
  single_query<bf16>(a).run();
}
