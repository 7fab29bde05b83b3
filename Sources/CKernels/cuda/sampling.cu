// Changes of logits, and tokens drawn from them (Sampling.swift).
//
// Probabilities are summed up as integers: sums then have no order, and every way to cut a row gives the
// same.
#include "philox.cuh"

// MARK: Changes

// LogitEditColumn
enum { EDIT_ROW, EDIT_TOKEN, EDIT_PENALTY, EDIT_BIAS, EDIT_COLUMNS };

// A thread for each edit.
KERNEL edit_logits(matrix logits, const int32_t *edits, int64_t stride, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count)
    return;
  const int32_t *edit = edits + i * stride;
  if (edit[EDIT_ROW] < 0)
    return;
  float &logit = row<float>(logits, edit[EDIT_ROW])[edit[EDIT_TOKEN]];
  const float penalty = __int_as_float(edit[EDIT_PENALTY]), bias = __int_as_float(edit[EDIT_BIAS]);
  logit = __fadd_rn(logit < 0 ? __fmul_rn(logit, penalty) : __fdiv_rn(logit, penalty), bias);
}

// A thread for each logit; blockIdx.y counts rows, in steps of gridDim.y.
KERNEL mask_logits(matrix logits, const uint32_t *masks, int64_t stride) {
  const int64_t token = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= logits.columns)
    return;
  for (int64_t r = blockIdx.y; r < logits.rows; r += gridDim.y)
    if (!(masks[r * stride + token / 32] >> token % 32 & 1))
      row<float>(logits, r)[token] = max_of::neutral();
}

// MARK: Reductions over a block of 1024 threads

enum { THREADS = 1024, WARPS = 32 };

DEVICE uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// The sum, in all threads.
DEVICE uint64_t block_sum(uint64_t value) {
  __shared__ uint64_t partial[WARPS];
  value = warp_sum(value);
  __syncthreads(); // the last call's partial sums are read
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(partial[threadIdx.x % 32]);
}

// MARK: A first look at a row: its greatest logit, and the logarithm of the sum of exponentials

enum { PIECES = 16 }; // of a row, by as many blocks

// The greatest of the edited logits, the first of equals; the sum of the others' exponentials relative to
// their greatest (Milakov & Gimelshein, arXiv:1805.02867), which begins at a finite number as in
// cross_entropy.cu.
struct look {
  float best;
  int index;
  float greatest, sum;

  static __device__ __forceinline__ look at_nothing() { return {max_of::neutral(), 0x7fffffff, -1e30f, 0}; }

  __device__ __forceinline__ void merge(const look &other) {
    if (other.best > best || (other.best == best && other.index < index))
      best = other.best, index = other.index;
    const float top = fmaxf(greatest, other.greatest);
    sum = sum * expf(greatest - top) + other.sum * expf(other.greatest - top);
    greatest = top;
  }
};

DEVICE look warp_merge(look l) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    look other;
    other.best = __shfl_xor_sync(0xffffffffu, l.best, offset);
    other.index = __shfl_xor_sync(0xffffffffu, l.index, offset);
    other.greatest = __shfl_xor_sync(0xffffffffu, l.greatest, offset);
    other.sum = __shfl_xor_sync(0xffffffffu, l.sum, offset);
    // In one order in both lanes: the sum is the same to the bit.
    look first = threadIdx.x & offset ? other : l;
    first.merge(threadIdx.x & offset ? l : other);
    l = first;
  }
  return l;
}

DEVICE look block_merge(look l) {
  __shared__ look partial[WARPS];
  l = warp_merge(l);
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = l;
  __syncthreads();
  return warp_merge(partial[threadIdx.x % 32]);
}

// Of logits [begin, end).
DEVICE look look_at(const float *logits, const float *edited, int begin, int end) {
  static constexpr int AT_ONCE = 8;
  look l = look::at_nothing();
  for (int first = begin + threadIdx.x; first < end; first += THREADS * AT_ONCE) {
    float x[AT_ONCE], e[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int c = first + i * THREADS;
      x[i] = c < end ? logits[c] : max_of::neutral();
      e[i] = edited == logits ? x[i] : c < end ? edited[c] : max_of::neutral();
    }
    const float before = l.greatest;
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (e[i] > l.best)
        l.best = e[i], l.index = first + i * THREADS;
      l.greatest = fmaxf(l.greatest, x[i]);
    }
    l.sum *= expf(before - l.greatest);
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++)
      l.sum += expf(x[i] - l.greatest);
  }
  return l;
}

// MARK: Drawing from a row

// Of the order of floats; a greater number is a greater key.
DEVICE uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The tokens that are left: those above a key, and of those at it the ones up to an id.
struct threshold {
  uint32_t key = 0;
  int last = 0x7fffffff;

  __device__ __forceinline__ bool keeps(uint32_t k, int id) const {
    return k > key || (k == key && id <= last);
  }
};

// The most probable tokens, when they are few enough to search among them.
enum { MOST_LISTED = 4096 };
struct listed {
  int count;
  int ids[MOST_LISTED];
  float values[MOST_LISTED];
};

struct drawing {
  const float *logits;
  int columns;
  float multiplier, greatest; // of the temperature; the greatest logit times it
  listed &list;
  bool is_listed;

  // A probability relative to the greatest, in units of 2^-40.
  __device__ __forceinline__ float relative(float logit) const {
    return expf(__fsub_rn(__fmul_rn(logit, multiplier), greatest)); // 1 for the greatest
  }
  __device__ __forceinline__ uint64_t mass(float logit) const {
    return __float2ull_rz(relative(logit) * 0x1p40f);
  }

  // The sum of f(logit, id) over the row, or the list.
  template <typename F> __device__ __forceinline__ uint64_t sum(const F &f) const {
    uint64_t total = 0;
    if (is_listed) {
      for (int i = threadIdx.x; i < list.count; i += THREADS)
        total += f(list.values[i], list.ids[i]);
    } else {
#pragma unroll 4
      for (int id = threadIdx.x; id < columns; id += THREADS)
        total += f(logits[id], id);
    }
    return block_sum(total);
  }

  // Lists the tokens of at least `part` of the greatest probability. Returns their mass, and in `whole` that
  // of all; list.count is how many there are, even where the list cannot hold them.
  __device__ __forceinline__ uint64_t gather(float part, uint64_t &whole) {
    __syncthreads();
    if (threadIdx.x == 0)
      list.count = 0;
    __syncthreads();
    uint64_t total = 0, all = 0;
#pragma unroll 4
    for (int id = threadIdx.x; id < columns; id += THREADS) {
      const float value = logits[id];
      all += mass(value);
      if (!(relative(value) >= part))
        continue;
      const int place = atomicAdd(&list.count, 1);
      if (place < MOST_LISTED)
        list.ids[place] = id, list.values[place] = value;
      total += mass(value);
    }
    whole = block_sum(all);
    return block_sum(total);
  }

  // The greatest key at and above which f adds up to `wanted` (0 where nothing does), and in `above` what f
  // adds up to above it.
  template <typename F>
  __device__ __forceinline__ uint32_t search(uint64_t wanted, uint64_t &above, const F &f) const {
    uint64_t low = 0, high = (uint64_t)key_of(-max_of::neutral()) + 1; // found in [low, high)
    above = 0;
    while (high - low > 1) {
      if (is_listed) {
        narrow(low, high, wanted, above, f);
        continue;
      }
      const uint64_t middle = (low + high) / 2;
      const uint64_t total =
          sum([&](float value, int) { return key_of(value) >= middle ? f(value) : (uint64_t)0; });
      if (total >= wanted)
        low = middle;
      else
        high = middle, above = total;
    }
    return (uint32_t)low;
  }

  // A step of `search` in the list: every warp tries a key of its own.
  template <typename F>
  __device__ __forceinline__ void narrow(uint64_t &low, uint64_t &high, uint64_t wanted, uint64_t &above,
                                         const F &f) const {
    __shared__ uint64_t totals[WARPS];
    const auto key = [&](int warp) { return low + (high - low) * (warp + 1) / (WARPS + 1); };
    const uint64_t least = key(threadIdx.x / 32);
    uint64_t total = 0;
    for (int i = threadIdx.x % 32; i < list.count; i += 32)
      if (key_of(list.values[i]) >= least)
        total += f(list.values[i]);
    total = warp_sum(total);
    __syncthreads(); // the last step's totals are read
    if (threadIdx.x % 32 == 0)
      totals[threadIdx.x / 32] = total;
    __syncthreads();
    int enough = 0; // keys that are low enough
    while (enough < WARPS && totals[enough] >= wanted)
      enough++;
    if (enough < WARPS)
      above = totals[enough];
    const uint64_t from = enough > 0 ? key(enough - 1) : low, to = enough < WARPS ? key(enough) : high;
    low = from, high = to;
  }

  // The id of the `count`-th token of this key.
  __device__ __forceinline__ int id_of(uint32_t key, uint64_t count) const {
    int low = -1, high = columns - 1; // the answer is in (low, high]
    while (high - low > 1) {
      const int middle = low + (high - low) / 2;
      const uint64_t total =
          sum([&](float value, int id) { return (uint64_t)(key_of(value) == key && id <= middle); });
      if (total >= count)
        high = middle;
      else
        low = middle;
    }
    return high;
  }

  __device__ __forceinline__ threshold limit(uint32_t key, uint64_t count) const {
    const uint64_t equals = sum([&](float value, int) { return (uint64_t)(key_of(value) == key); });
    return {key, count < equals ? id_of(key, count) : 0x7fffffff};
  }

  // What the most probable `top_k` leave, and of those the fewest that reach `top_p` of their mass.
  __device__ __forceinline__ threshold most_probable(int top_k, double top_p) {
    const auto one = [](float) { return (uint64_t)1; };
    const auto mass_of = [&](float value) { return mass(value); };
    uint64_t whole;
    for (int attempt = 0; attempt < 2 && !is_listed; attempt++) {
      const uint64_t found = gather(attempt == 0 ? 1e-4f : 1e-2f, whole);
      if (list.count <= MOST_LISTED) {
        is_listed = top_k > 0 ? list.count >= top_k : (double)found >= top_p * (double)whole;
        break;
      }
    }
    threshold kept;
    if (top_k > 0) {
      uint64_t above;
      const uint32_t key = search(top_k, above, one);
      kept = limit(key, top_k - above);
      whole =
          sum([&](float value, int id) { return kept.keeps(key_of(value), id) ? mass(value) : (uint64_t)0; });
    }
    if (top_p >= 1)
      return kept;
    const uint64_t enough = max((uint64_t)ceil(top_p * (double)whole), (uint64_t)1);
    uint64_t above;
    const uint32_t key = search(enough, above, mass_of);
    // All tokens of one key have one mass.
    const uint64_t each = max(mass(value_of(key)), (uint64_t)1);
    const threshold within = limit(key, (enough - above + each - 1) / each);
    return key > kept.key ? within : threshold{kept.key, min(kept.last, within.last)};
  }

  __device__ __forceinline__ static float value_of(uint32_t key) {
    return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
  }

  // The first id at which the mass of all kept tokens up to it exceeds u times the whole mass.
  __device__ __forceinline__ int draw(const threshold &kept, float min_p, double u) const {
    __shared__ uint64_t masses[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const auto mass_at = [&](int id) {
      const float value = logits[id];
      return kept.keeps(key_of(value), id) && relative(value) >= min_p ? mass(value) : (uint64_t)0;
    };
    int begin = 0, end = columns;
    uint64_t wanted = 0; // the mass to be exceeded from `begin` on
    for (bool is_first = true;; is_first = false) {
      const int size = (end - begin + WARPS - 1) / WARPS; // of a warp's share
      uint64_t total = 0;
      const int stop = min(begin + (warp + 1) * size, end);
#pragma unroll 4
      for (int id = begin + warp * size + lane; id < stop; id += 32)
        total += mass_at(id);
      total = warp_sum(total);
      __syncthreads(); // the last round's masses are read
      if (lane == 0)
        masses[warp] = total;
      __syncthreads();
      if (is_first) {
        const uint64_t whole = warp_sum(masses[lane]);
        wanted = min((uint64_t)(u * (double)whole), max(whole, (uint64_t)1) - 1);
      }
      int share = 0;
      while (share < WARPS - 1 && masses[share] <= wanted)
        wanted -= masses[share++];
      begin = min(begin + share * size, end - 1);
      end = min(begin + size, end);
      if (size == 1)
        return begin;
    }
  }
};

// SamplingColumn
enum { TEMPERATURE, TOP_K, TOP_P, MIN_P, SAMPLING_COLUMNS };

// Uniform in [0, 1), in steps of 2^-53; the stream is that of draws (Sampling+CPU.swift).
DEVICE double uniform(const uint32_t *counter) {
  uint32_t words[4];
  philox((uint64_t)counter[1] << 32 | counter[0], (uint64_t)counter[3] << 32 | counter[2], ~(uint64_t)0,
         words);
  return (double)(((uint64_t)words[1] << 32 | words[0]) >> 11) * 0x1p-53;
}

// Grid: pieces of a row, rows. The last block of a row that has looked at its piece draws the token.
KERNEL __launch_bounds__(THREADS)
    sample(matrix logits, matrix edited, const float *numbers, int64_t numbers_stride, const uint32_t *seeds,
           int64_t seeds_stride, int32_t *tokens, float *log_probabilities, look *looks, uint32_t *arrivals) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ bool is_last;
  const int r = blockIdx.y, columns = (int)logits.columns;
  const float *x = row<float>(logits, r), *e = row<float>(edited, r);
  const int size = (columns + PIECES - 1) / PIECES, begin = blockIdx.x * size;
  look l = block_merge(look_at(x, e, begin, min(begin + size, columns)));
  if (threadIdx.x == 0) {
    looks[r * PIECES + blockIdx.x] = l;
    __threadfence();
    is_last = atomicInc(arrivals + r, PIECES - 1) == PIECES - 1;
  }
  __syncthreads();
  if (!is_last)
    return;
  __threadfence();
  l = look::at_nothing();
  for (int i = 0; i < PIECES; i++) {
    const float4 u = __ldcg((const float4 *)(looks + r * PIECES + i));
    l.merge(look{u.x, __float_as_int(u.y), u.z, u.w});
  }

  const float *number = numbers + r * numbers_stride;
  const float temperature = number[TEMPERATURE];
  int token = l.index < columns ? l.index : 0;
  if (temperature > 0 && l.best > max_of::neutral()) {
    const float multiplier = (float)(1.0 / (double)temperature);
    drawing d = {e, columns, multiplier, __fmul_rn(l.best, multiplier), *(listed *)shared, false};
    const int top_k = (int)number[TOP_K];
    const float top_p = number[TOP_P];
    threshold kept;
    if ((top_k > 0 && top_k < columns) || top_p < 1)
      kept = d.most_probable(top_k < columns ? top_k : 0, top_p);
    token = d.draw(kept, number[MIN_P], uniform(seeds + r * seeds_stride));
  }
  if (threadIdx.x == 0) {
    const float logsumexp = l.greatest + logf(l.sum);
    tokens[r] = token;
    log_probabilities[r] = isfinite(logsumexp) ? x[token] - logsumexp : __int_as_float(0x7fffffff);
  }
}
