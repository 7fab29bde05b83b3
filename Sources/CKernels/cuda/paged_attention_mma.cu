// Attention of one query to keys in pages (paged_query.cuh) on tensor cores, in bfloat16.
//
// The heads of a block are the 8 columns of its products (mma.m16n8k16). Of the 64 keys at a time a warp has
// 16: scores (16 keys x heads) = K Qᵀ. The block agrees on the greatest; powers of 2, as bfloat16, go to the
// other warps through shared memory, and each warp sums a quarter of the columns over all keys: sums (columns
// x heads) = Vᵀ P. Weights are sums of the same rounded powers: a row of ones beside Vᵀ.
//
// K and V come by asynchronous copies to a slot each. The next K is on its way as soon as there are scores,
// the next V when all warps have their sums: other blocks of the multiprocessor fill the time between.
#include "paged_query.cuh"
#include "tensor_cores.cuh"

#if __CUDA_ARCH__ >= 800

enum { WARPS = 4, KEYS_OF_WARP = KEYS / WARPS };
static_assert(KEYS_OF_WARP == 16, "the rows of a product");

// Small numbers become 0.
DEVICE float power_of_2(float exponent) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
  return power;
}

// What goes from warp to warp.
struct __align__(16) exchange {
  bf16 powers[KEYS][HEADS];
  float greatest[WARPS][HEADS];
};

// Heads of up to WIDTH columns, a multiple of 8: Q, K and V are zeros from there to WIDTH. Pages have a power
// of two of tokens.
template <int WIDTH> struct paged_query_mma : paged_query {
  static constexpr int PITCH = 2 * WIDTH;  // bytes of a row in shared memory
  static constexpr int TILES = WIDTH / 64; // of 16 columns, which a warp sums
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint32_t k_slot, v_slot, q_slot; // addresses
  exchange &shared;
  const uint8_t *from[4];    // the lane's pieces of K that it copies next
  uint32_t q[WIDTH / 32][4]; // of head g: elements 2 t and 2 t + 1 of every eight
  // Of heads 2 t and 2 t + 1.
  float greatest[2] = {-infinity(), -infinity()};
  float weight[4] = {}; // twice
  float sums[TILES][4] = {};

  __device__ __forceinline__ paged_query_mma(const paged_attention &a, uint8_t *slots, exchange &shared)
      : paged_query(a), k_slot((uint32_t)__cvta_generic_to_shared(slots)), v_slot(k_slot + KEYS * PITCH),
        q_slot(v_slot + KEYS * PITCH), shared(shared) {}

  // Where a piece of 8 elements of a row is: those of 8 rows, which are read together, meet in no bank.
  static __device__ __forceinline__ uint32_t place(int row, int piece) {
    return row * PITCH + (piece ^ row % 8) * 16;
  }

  // MARK: Copies. A lane takes every eighth piece of every fourth of its warp's keys.

  // Of the lane's key of those from `key` on.
  __device__ __forceinline__ int64_t find_key(int key) const {
    key += warp * KEYS_OF_WARP + lane % KEYS_OF_WARP;
    if (key >= range.high)
      return 0;
    const int page = a.pages[sequence * a.longest_pages + (key >> (__ffs(a.page_size) - 1))];
    return page * a.page_stride + (int64_t)((key & (a.page_size - 1)) * a.tiles.kv_heads) * D;
  }
  __device__ __forceinline__ void aim(int64_t offset) {
    const auto *data = (const bf16 *)a.k + kv * D + lane % 8 * 8;
#pragma unroll
    for (int i = 0; i < 4; i++)
      from[i] = (const uint8_t *)(data + __shfl_sync(0xffffffffu, offset, lane / 8 + 4 * i));
  }
  // K or V, which is `distance` bytes behind: the 64 keys, where `left` is how many there are from them on.
  __device__ __forceinline__ void copy(uint32_t slot, int64_t distance, int left) const {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = warp * KEYS_OF_WARP + lane / 8 + 4 * i;
      const uint32_t to = slot + place(key, lane % 8);
#pragma unroll
      for (int j = 0; j < TILES; j++)
        copy_16_or_zeros(to + j * 128, from[i] + distance + j * 128,
                         key < left && (lane % 8 + 8 * j) * 8 < D);
    }
    end_copies();
  }
  __device__ __forceinline__ int64_t distance() const { return (const uint8_t *)a.v - (const uint8_t *)a.k; }

  __device__ __forceinline__ void copy_query() const {
#pragma unroll
    for (int first = 0; first < HEADS * WIDTH / 8; first += WARPS * 32) {
      const int h = (first + threadIdx.x) / (WIDTH / 8), piece = threadIdx.x % (WIDTH / 8);
      if (h < HEADS)
        copy_16_or_zeros(q_slot + place(h, piece), query<bf16>() + h * D + piece * 8,
                         h < count && piece * 8 < D);
    }
    end_copies();
  }
  __device__ __forceinline__ void load_query() {
#pragma unroll
    for (int j = 0; j < WIDTH / 32; j++)
      load_matrices(q_slot + place(lane % 8, 4 * j + lane / 8), q[j]);
  }

  // MARK: Products

  // Of keys g (0, 1) and g + 8 (2, 3) of the warp's, heads 2 t and 2 t + 1; -infinity past the last key.
  __device__ __forceinline__ void score(int left, float (&scores)[4]) const {
    float parts[2][4] = {};
#pragma unroll
    for (int i = 0; i < WIDTH / 16; i++) {
      uint32_t keys[4];
      load_matrices(k_slot + place(warp * KEYS_OF_WARP + lane % 16, 2 * i + lane / 16), keys);
      mma(parts[i % 2], keys, q[i / 2][i % 2 * 2], q[i / 2][i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const bool is_there = warp * KEYS_OF_WARP + g + i / 2 * 8 < left;
      scores[i] = is_there ? (parts[0][i] + parts[1][i]) * scale() : -infinity();
    }
  }

  // Makes `greatest` that of all keys up to now, and sums and weights relative to it.
  __device__ __forceinline__ void agree(const float (&scores)[4]) {
    float of_warp[2] = {fmaxf(scores[0], scores[2]), fmaxf(scores[1], scores[3])};
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2)
#pragma unroll
      for (int i = 0; i < 2; i++)
        of_warp[i] = fmaxf(of_warp[i], __shfl_xor_sync(0xffffffffu, of_warp[i], offset));
    if (g == 0)
      *(vec<float, 2> *)&shared.greatest[warp][2 * t] = {of_warp[0], of_warp[1]};
    __syncthreads();
    float shrink[2] = {greatest[0], greatest[1]};
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const auto other = *(const vec<float, 2> *)&shared.greatest[w][2 * t];
#pragma unroll
      for (int i = 0; i < 2; i++)
        greatest[i] = fmaxf(greatest[i], other.at[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
      shrink[i] = power_of_2(shrink[i] - greatest[i]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      weight[i] *= shrink[i % 2];
#pragma unroll
      for (int m = 0; m < TILES; m++)
        sums[m][i] *= shrink[i % 2];
    }
  }

  __device__ __forceinline__ void share_powers(const float (&scores)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i += 2)
      *(uint32_t *)&shared.powers[warp * KEYS_OF_WARP + g + i * 4][2 * t] =
          pack_bf16(power_of_2(scores[i] - greatest[0]), power_of_2(scores[i + 1] - greatest[1]));
  }

  __device__ __forceinline__ void accumulate() {
    static constexpr uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    const uint32_t powers = (uint32_t)__cvta_generic_to_shared(shared.powers[lane]);
    const int key = lane / 16 * 8 + lane % 8, piece = lane / 8 % 2;
#pragma unroll
    for (int first = 0; first < KEYS; first += 32) {
      uint32_t p[4];
      load_matrices<true>(powers + first * sizeof shared.powers[0], p);
#pragma unroll
      for (int k = 0; k < 2; k++) {
#pragma unroll
        for (int m = 0; m < TILES; m++) {
          uint32_t values[4];
          load_matrices<true>(v_slot + place(first + 16 * k + key, (warp * TILES + m) * 2 + piece), values);
          mma(sums[m], values, p[2 * k], p[2 * k + 1]);
        }
        mma(weight, ones, p[2 * k], p[2 * k + 1]);
      }
    }
  }

  // Brings the keys and values that the block reads first to the L2 cache: all but the last are older than
  // the kernel before.
  __device__ __forceinline__ void prefetch() const {
    if (lane % 8 == 0)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < TILES; j++) {
          if (j * 64 >= D)
            break;
          asm volatile("prefetch.global.L2 [%0];" ::"l"(from[i] + j * 128));
          asm volatile("prefetch.global.L2 [%0];" ::"l"(from[i] + distance() + j * 128));
        }
  }

  __device__ __forceinline__ void attend() {
    aim(find_key(range.low));
    prefetch();
    wait_for_predecessors();
    copy_query();
    copy(k_slot, 0, range.high - range.low);
    copy(v_slot, distance(), range.high - range.low);
    wait_for_copies<2>();
    __syncthreads();
    load_query();
#pragma unroll 1
    for (int key = range.low;; key += KEYS) {
      const int left = range.high - key;
      const int64_t next = find_key(key + KEYS);
      wait_for_copies<1>();
      __syncwarp();
      float scores[4];
      score(left, scores);
      __syncwarp(); // K is read
      if (left > KEYS) {
        aim(next);
        copy(k_slot, 0, left - KEYS);
      } else {
        end_copies();
      }
      agree(scores);
      share_powers(scores);
      wait_for_copies<1>();
      __syncthreads();
      accumulate();
      if (left <= KEYS)
        return;
      __syncthreads(); // V is read
      copy(v_slot, distance(), left - KEYS);
    }
  }

  // Writes the range's result: a head's from a multiple of `pitch` on.
  template <typename T> __device__ __forceinline__ void store(T *to, int pitch) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int h = 2 * t + i;
      const float inverse = __fdividef(1, weight[i]);
#pragma unroll
      for (int m = 0; m < 2 * TILES; m++) {
        const int c = (warp * TILES * 2 + m) * 8 + g;
        if (h < count && c < D)
          to[h * pitch + c] = from_float<T>(sums[m / 2][m % 2 * 2 + i] * inverse);
      }
    }
  }

  __device__ __forceinline__ void run() {
    attend();
    if (is_alone())
      return store(out<bf16>(), D);
    store(partial(0, blockIdx.x), a.splits * (D + 4));
    if (threadIdx.x < 4) {
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (2 * t + i < count)
          partial(2 * t + i, blockIdx.x)[D] = greatest[i] + __log2f(weight[i]);
    }
    if (arrives_last())
      merge<bf16>();
  }
};

#define PAGED_ATTENTION_MMA(WIDTH)                                                                           \
  KERNEL __launch_bounds__(WARPS * 32, WIDTH == 256 ? 3 : 5)                                                 \
      paged_attention_mma_##WIDTH(const __grid_constant__ paged_attention a) {                               \
    extern __shared__ __align__(128) uint8_t slots[];                                                        \
    __shared__ exchange shared;                                                                              \
    paged_query_mma<WIDTH> query(a, slots, shared);                                                          \
    let_successor_begin();                                                                                   \
    if (query.begin()) /* from tables that are older than the step */                                        \
      query.run();                                                                                           \
    else                                                                                                     \
      wait_for_predecessors();                                                                               \
  }
PAGED_ATTENTION_MMA(64)
PAGED_ATTENTION_MMA(128)
PAGED_ATTENTION_MMA(256)

#endif
