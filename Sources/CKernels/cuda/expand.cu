// Weights in any storage format, and their adapters, to a row-major matrix that a product can read
// (LinearExpansion.swift).
#include "weights.cuh"

enum { MAX_PARTS = 4, THREADS = 256 };

// Weights of as many columns each, one below the other.
struct stack {
  weight part[MAX_PARTS];
  int64_t first[MAX_PARTS]; // row of e
  matrix e;
  uint32_t units; // ceil(columns / 8)
  int32_t parts;
  float scale; // of all
};

// B of each part: (out, rank), float, contiguous. NULL for none.
struct adapters {
  const float *up[MAX_PARTS];
  float scale[MAX_PARTS];
  int32_t rows[MAX_PARTS];   // outputs of the part
  int32_t column[MAX_PARTS]; // where its columns begin among the ranks
  int32_t rank[MAX_PARTS];
  int32_t parts, ranks;
  int64_t inputs, outputs;
  const float *down; // A, (ranks, inputs), contiguous
};

// The part that this block works on, and which of its blocks it is, when each makes `most` times eight
// elements; the blocks behind the last part's are of part `parts`.
DEVICE int find_part(const stack &s, uint32_t most, uint32_t &block) {
  block = blockIdx.x;
  int p = 0;
  for (; p < s.parts; p++) {
    const uint32_t blocks = ((uint32_t)s.part[p].rows * s.units + most - 1) / most;
    if (block < blocks)
      break;
    block -= blocks;
  }
  return p;
}

// MARK: Stores of eight neighbours; `to` is a multiple of 16 bytes.

DEVICE void store8(bf16 *to, const float v[8]) {
  *(uint4 *)to =
      uint4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}

DEVICE void store8(float *to, const float v[8]) {
  ((float4 *)to)[0] = float4{v[0], v[1], v[2], v[3]};
  ((float4 *)to)[1] = float4{v[4], v[5], v[6], v[7]};
}

// MARK: Any format

// e = scale * w, rounded to e's type. One thread per eight elements of a row, fewer than 2^32 in all.
template <typename T>
DEVICE void dequantize(const stack &s, const weight &w, int64_t first_row, uint32_t block) {
  const uint32_t index = block * THREADS + threadIdx.x, r = index / s.units;
  if (r >= w.rows)
    return;
  const int64_t first = (int64_t)(index - r * s.units) * 8, left = w.columns - first;
  const int count = left < 8 ? (int)left : 8;
  float values[8];
  decode8(w, r, first, count, values);
#pragma unroll
  for (int i = 0; i < 8; i++)
    values[i] = __fmul_rn(values[i], s.scale);
  T *to = row<T>(s.e, first_row + r) + first;
  if (count == 8 && is_aligned(to, 16)) {
    store8(to, values);
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (i < count)
        to[i] = from_float<T>(values[i]);
  }
}

// MARK: NF4

// As above for NF4 whose rows are `units` whole words of eight codes: see weights.cuh. Every row of `e`
// starts at a multiple of 16 bytes.
//
// A base weight is decoded for every product, so this runs at memory's speed or costs whole percents of a
// step: each thread has its words on their way before it decodes one, and a warp's loads and stores are
// contiguous. Words are read once (evicted first); the output is not, the product wants it from cache.
enum { NF4_WORDS = 4 };

template <typename T>
DEVICE void dequantize_nf4(const stack &s, const weight &w, int64_t first_row, uint32_t block) {
  __shared__ nf4_tables tables;
  const uint32_t units = s.units, total = (uint32_t)w.rows * units;
  const uint32_t first = block * (THREADS * NF4_WORDS) + threadIdx.x;
  tables.fill(w);
  nf4_word words[NF4_WORDS];
#pragma unroll
  for (int i = 0; i < NF4_WORDS; i++)
    words[i] = first + i * THREADS < total ? load_nf4(w, first + i * THREADS) : nf4_word{};
  __syncthreads();
  uint32_t r = first / units, column = first - r * units;
#pragma unroll
  for (int i = 0; i < NF4_WORDS; i++) {
    if (first + i * THREADS >= total)
      return;
    float values[8];
    tables.decode(w, words[i], values);
#pragma unroll
    for (int j = 0; j < 8; j++)
      values[j] = __fmul_rn(values[j], s.scale);
    store8(row<T>(s.e, first_row + r) + (int64_t)column * 8, values);
    for (column += THREADS; column >= units; column -= units)
      r++;
  }
}

// MARK: Adapters

enum { ADAPTER_ELEMENTS = 1024 }; // of a block

// scale * B at (r, c) of (outputs, ranks) where a part has it, else 0.
DEVICE float up_at(const adapters &a, uint32_t r, int32_t c) {
  uint32_t first = 0;
  float value = 0;
#pragma unroll
  for (int p = 0; p < MAX_PARTS; p++) {
    if (p < a.parts) {
      const bool inside =
          r >= first && r < first + a.rows[p] && c >= a.column[p] && c < a.column[p] + a.rank[p];
      if (inside)
        value = a.scale[p] * a.up[p][(int64_t)(r - first) * a.rank[p] + c - a.column[p]];
      first += a.rows[p];
    }
  }
  return value;
}

// What e has besides weights: columns [inputs, inputs + ranks) of rows [0, outputs), and below them rows of
// A, then zeros. Fewer than 2^32 elements.
template <typename T> DEVICE void expand_adapters(const matrix &e, const adapters &a, uint32_t block) {
  const uint32_t ranks = a.ranks, width = (uint32_t)a.inputs + ranks, ups = (uint32_t)a.outputs * ranks;
  const uint32_t total = ups + ranks * width, first = block * ADAPTER_ELEMENTS;
  for (uint32_t i = first + threadIdx.x; i < min(first + ADAPTER_ELEMENTS, total); i += THREADS) {
    if (i < ups) {
      const uint32_t r = i / ranks, c = i - r * ranks;
      row<T>(e, r)[a.inputs + c] = from_float<T>(up_at(a, r, (int32_t)c));
    } else {
      const uint32_t r = (i - ups) / width, c = i - ups - r * width;
      row<T>(e, a.outputs + r)[c] = from_float<T>(c < a.inputs ? a.down[r * a.inputs + c] : 0.0f);
    }
  }
}

// MARK: Kernels

// The blocks of all weights, then the adapters'.
#define EXPAND(NAME, T, DECODE, MOST)                                                                        \
  KERNEL __launch_bounds__(THREADS)                                                                          \
      NAME(const __grid_constant__ stack s, const __grid_constant__ adapters a) {                            \
    uint32_t block;                                                                                          \
    const int p = find_part(s, MOST, block);                                                                 \
    if (p < s.parts)                                                                                         \
      DECODE<T>(s, s.part[p], s.first[p], block);                                                            \
    else                                                                                                     \
      expand_adapters<T>(s.e, a, block);                                                                     \
  }
EXPAND(expand_f32, float, dequantize, THREADS)
EXPAND(expand_bf16, bf16, dequantize, THREADS)
EXPAND(expand_nf4_f32, float, dequantize_nf4, THREADS *NF4_WORDS)
EXPAND(expand_nf4_bf16, bf16, dequantize_nf4, THREADS *NF4_WORDS)

// (outputs, ranks): the adapters' second halves alone. A thread an element.
template <typename T> DEVICE void expand_ups(const matrix &e, const adapters &a) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, r = i / a.ranks, c = i - r * a.ranks;
  if (r < a.outputs)
    row<T>(e, r)[c] = from_float<T>(up_at(a, r, (int32_t)c));
}
KERNEL expand_ups_f32(matrix e, const __grid_constant__ adapters a) { expand_ups<float>(e, a); }
KERNEL expand_ups_bf16(matrix e, const __grid_constant__ adapters a) { expand_ups<bf16>(e, a); }
