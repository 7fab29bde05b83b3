// Attention of one query to keys in pages: the keys are cut into ranges, of which a block takes one, for the
// query heads that share a key-value head; the last block of a sequence and head that arrives merges what
// they found, in order (arXiv:2311.01282). Where the ranges begin depends on the sequence alone.
//
// Scores are in units of log 2: their exponentials are powers of 2.
#pragma once
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

enum {
  HEADS = 8,        // query heads that a block takes together
  KEYS = 64,        // keys at a time
  MOST_SPLITS = 32, // ranges of a sequence
  AT_ONCE = 10      // ranges that a thread reads before it adds them up
};

// The keys [low, high) of all that the query sees, which are cut into ranges of `length`.
struct range_of_keys {
  int low, high, all, length;

  __device__ __forceinline__ int count() const { return (all + length - 1) / length; }
};

// The blockIdx.x-th range; empty past the last.
DEVICE range_of_keys find_range(const paged_attention &a, int keys) {
  const int64_t window = a.tiles.window;
  const int all = window > 0 && keys > window ? (int)window : keys;
  const int length = (all + KEYS * MOST_SPLITS - 1) / (KEYS * MOST_SPLITS) * KEYS;
  const int low = keys - all + blockIdx.x * length;
  return {low, min(low + length, keys), all, length};
}

// A block's share of a query. Grid: ranges, heads in groups of at most HEADS that share keys, sequences.
struct paged_query {
  const paged_attention &a;
  int D, kv, head, count, q_row; // count heads from `head` on
  int64_t sequence;
  range_of_keys range;

  __device__ __forceinline__ paged_query(const paged_attention &a) : a(a) {}

  // Whether there is anything to do.
  __device__ __forceinline__ bool begin() {
    sequence = blockIdx.z;
    const segment s = a.tiles.segments[sequence];
    D = (int)a.tiles.head_size;
    const int sharing = a.tiles.heads / a.tiles.kv_heads, chunks = (sharing + HEADS - 1) / HEADS;
    kv = blockIdx.y / chunks;
    const int first = (blockIdx.y - kv * chunks) * HEADS;
    head = kv * sharing + first;
    count = min(HEADS, sharing - first);
    q_row = s.q_start;
    range = find_range(a, s.k_count);
    return s.q_count == 1 && range.low < range.high;
  }

  // By which scores are multiplied.
  __device__ __forceinline__ float scale() const { return (float)a.tiles.scale * 1.44269504f; }

  template <typename T> __device__ __forceinline__ const T *query() const {
    return row<T>(a.tiles.q, q_row) + (int64_t)head * D;
  }
  template <typename T> __device__ __forceinline__ T *out() const {
    return row<T>(a.tiles.o, q_row) + (int64_t)head * D;
  }

  // Whether this range is all there is.
  __device__ __forceinline__ bool is_alone() const { return range.all <= range.length; }

  // Where a range's findings of head `head` + h lie: its result, and the logarithm of its weight.
  __device__ __forceinline__ float *partial(int h, int index) const {
    return a.partials + ((sequence * a.tiles.heads + head + h) * a.splits + index) * (D + 4);
  }

  // Whether this block, which has written its partials, is the last of its sequence and heads to do so.
  __device__ __forceinline__ bool arrives_last() const {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      const uint32_t last = range.count() - 1;
      is_last = atomicInc(a.arrivals + sequence * gridDim.y + blockIdx.y, last) == last;
    }
    __syncthreads();
    __threadfence();
    return is_last;
  }

  // The result of all ranges, four columns a thread.
  template <typename T> __device__ __forceinline__ void merge() const {
    const int ranges = range.count();
    for (int i = threadIdx.x * 4; i < count * D; i += blockDim.x * 4) {
      const int h = i / D, c = i - h * D;
      const float *from = partial(h, 0);
      float greatest = -infinity(), weight = 0, total[4] = {};
      for (int first = 0; first < ranges; first += AT_ONCE) {
        float logarithm[AT_ONCE];
        float4 result[AT_ONCE];
#pragma unroll
        for (int s = 0; s < AT_ONCE; s++) {
          logarithm[s] = -infinity(), result[s] = {};
          if (first + s < ranges) {
            logarithm[s] = __ldcg(from + s * (D + 4) + D);
            result[s] = __ldcg((const float4 *)(from + s * (D + 4) + c));
          }
        }
        from += AT_ONCE * (D + 4);
        const float before = greatest;
#pragma unroll
        for (int s = 0; s < AT_ONCE; s++)
          greatest = fmaxf(greatest, logarithm[s]);
        const float shrink = exp2f(before - greatest);
        weight *= shrink;
#pragma unroll
        for (int k = 0; k < 4; k++)
          total[k] *= shrink;
#pragma unroll
        for (int s = 0; s < AT_ONCE; s++) {
          const float factor = exp2f(logarithm[s] - greatest);
          weight += factor;
          total[0] = fmaf(factor, result[s].x, total[0]), total[1] = fmaf(factor, result[s].y, total[1]);
          total[2] = fmaf(factor, result[s].z, total[2]), total[3] = fmaf(factor, result[s].w, total[3]);
        }
      }
      const float inverse = 1 / weight;
#pragma unroll
      for (int k = 0; k < 4; k++)
        out<T>()[i + k] = from_float<T>(total[k] * inverse);
    }
  }
};
