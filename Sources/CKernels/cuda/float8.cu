// Rows in float8 (e4m3) with a scale each: what ../float8.c does, with the same codes.
#include "weights.cuh"

// MARK: One element

constexpr float LARGEST = 448.0f;
// Rows whose largest magnitude is below are zero: its reciprocal would overflow.
constexpr float SMALLEST = 7.888609e-31f; // 2^-100

// The nearest codes of four values, ties to even, at most 448 in magnitude; the first in the lowest byte.
DEVICE uint32_t to_e4m3(const float v[4]) {
#if __CUDA_ARCH__ >= 890
  uint16_t low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(v[1]), "f"(v[0]));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(v[3]), "f"(v[2]));
  return low | (uint32_t)high << 16;
#else
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t bits = __float_as_uint(v[i]) & 0x7FFFFFFFu, sign = __float_as_uint(v[i]) >> 24 & 0x80u;
    const float magnitude = __uint_as_float(bits);
    uint32_t code;
    if (v[i] != v[i])
      code = 0x7F;
    else if (magnitude >= LARGEST)
      code = 0x7E;
    else if (magnitude < 0.015625f) // no leading one: multiples of 2^-9
      code = (uint32_t)rintf(magnitude * 512.0f);
    else
      code = ((bits + 0x7FFFFu + (bits >> 20 & 1u)) >> 20) - ((127 - 7) << 3);
    codes |= (sign | code) << 8 * i;
  }
  return codes;
#endif
}

DEVICE float scale_of(float largest) {
  return largest >= SMALLEST ? __fmul_rn(largest, 1.0f / LARGEST) : 0.0f;
}
DEVICE float reciprocal(float scale) { return scale > 0.0f ? __fdiv_rn(1.0f, scale) : 0.0f; }

// Eight codes.
DEVICE uint2 encode8(float v[8], float inverse) {
#pragma unroll
  for (int i = 0; i < 8; i++)
    v[i] = __fmul_rn(v[i], inverse);
  return uint2{to_e4m3(v), to_e4m3(v + 4)};
}

// MARK: Activations

// Rows of up to HELD eights a thread, which stay in registers between the two looks at them. Every row starts
// at a multiple of 16 bytes, and columns are a multiple of 8.
enum { HELD = 10, HELD_THREADS = 512 };

DEVICE void times(float v[8], const float *factors, int64_t c) {
  if (factors) {
    const vec<float, 4> low = *(const vec<float, 4> *)(factors + c),
                        high = *(const vec<float, 4> *)(factors + c + 4);
#pragma unroll
    for (int i = 0; i < 8; i++)
      v[i] = __fmul_rn(v[i], i < 4 ? low.at[i] : high.at[i - 4]);
  }
}

KERNEL __launch_bounds__(HELD_THREADS)
    float8_rows_held(matrix x, const float *factors, uint8_t *codes, float *scales) {
  const bf16 *values = row<bf16>(x, blockIdx.x);
  vec<bf16, 8> held[HELD];
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int64_t c = ((int64_t)threadIdx.x + i * blockDim.x) * 8;
    held[i] = c < x.columns ? *(const vec<bf16, 8> *)(values + c) : vec<bf16, 8>{};
  }
  float largest = 0, v[8];
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int64_t c = ((int64_t)threadIdx.x + i * blockDim.x) * 8;
    if (c < x.columns) {
#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] = to_float(held[i].at[j]);
      times(v, factors, c);
#pragma unroll
      for (int j = 0; j < 8; j++)
        largest = fmaxf(largest, fabsf(v[j]));
    }
  }
  const float scale = scale_of(block_reduce<max_of>(largest)), inverse = reciprocal(scale);
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale;
  uint2 *out = (uint2 *)(codes + (int64_t)blockIdx.x * x.columns);
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int64_t c = ((int64_t)threadIdx.x + i * blockDim.x) * 8;
    if (c < x.columns) {
#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] = to_float(held[i].at[j]);
      times(v, factors, c);
      out[c / 8] = encode8(v, inverse);
    }
  }
}

// Any other rows.

// Four neighbours of a row times their factors.
template <typename T, int V> DEVICE void read4(const T *row, const float *factors, int64_t c, float out[4]) {
  if (V == 4) {
    const vec<T, 4> values = *(const vec<T, 4> *)(row + c);
#pragma unroll
    for (int i = 0; i < 4; i++)
      out[i] = to_float(values.at[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      out[i] = to_float(row[c + i]);
  }
  if (factors) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      out[i] = __fmul_rn(out[i], factors[c + i]);
  }
}

// A block per row, which it reads twice: the second time from the cache.
template <typename T, int V>
DEVICE void float8_rows(const matrix &x, const float *factors, uint8_t *codes, float *scales) {
  const T *values = row<T>(x, blockIdx.x);
  float largest = 0, v[4];
  for (int64_t c = threadIdx.x * 4; c < x.columns; c += blockDim.x * 4) {
    read4<T, V>(values, factors, c, v);
#pragma unroll
    for (int i = 0; i < 4; i++)
      largest = fmaxf(largest, fabsf(v[i]));
  }
  const float scale = scale_of(block_reduce<max_of>(largest)), inverse = reciprocal(scale);
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale;
  uint32_t *out = (uint32_t *)(codes + (int64_t)blockIdx.x * x.columns);
  for (int64_t c = threadIdx.x * 4; c < x.columns; c += blockDim.x * 4) {
    read4<T, V>(values, factors, c, v);
#pragma unroll
    for (int i = 0; i < 4; i++)
      v[i] = __fmul_rn(v[i], inverse);
    out[c / 4] = to_e4m3(v);
  }
}

#define ROWS(T, NAME, V)                                                                                     \
  KERNEL float8_rows_##NAME##_x##V(matrix x, const float *factors, uint8_t *codes, float *scales) {          \
    float8_rows<T, V>(x, factors, codes, scales);                                                            \
  }
ROWS(float, f32, 4)
ROWS(float, f32, 1)
ROWS(bf16, bf16, 4)
ROWS(bf16, bf16, 1)

// MARK: Weights, in whole eights of columns

// A block per row.
KERNEL float8_weight_scales(weight w, float *scales) {
  float largest = 0, v[8];
  for (int64_t c = threadIdx.x * 8; c < w.columns; c += blockDim.x * 8) {
    decode8(w, blockIdx.x, c, 8, v);
#pragma unroll
    for (int i = 0; i < 8; i++)
      largest = fmaxf(largest, fabsf(v[i]));
  }
  largest = block_reduce<max_of>(largest);
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale_of(largest);
}

// Row r's codes at codes + r * stride; a thread per eight, `units` of them a row.
KERNEL float8_weight(weight w, const float *scales, uint8_t *codes, int64_t stride, uint32_t units) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x, r = index / units;
  if (r >= w.rows)
    return;
  const int64_t c = (int64_t)(index - r * units) * 8;
  float v[8];
  decode8(w, r, c, 8, v);
  *(uint2 *)(codes + r * stride + c) = encode8(v, reciprocal(scales[r]));
}

// The same of NF4 in words: a thread takes `WORDS`, a block's width apart.
enum { WORDS = 4, THREADS = 256 };

KERNEL __launch_bounds__(THREADS)
    float8_weight_nf4(weight w, const float *scales, uint8_t *codes, int64_t stride, uint32_t units) {
  __shared__ nf4_tables tables;
  const uint32_t total = (uint32_t)w.rows * units, first = blockIdx.x * (THREADS * WORDS) + threadIdx.x;
  tables.fill(w);
  nf4_word words[WORDS];
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    words[i] = first + i * THREADS < total ? load_nf4(w, first + i * THREADS) : nf4_word{};
  __syncthreads();
#pragma unroll
  for (int i = 0; i < WORDS; i++) {
    const uint32_t index = first + i * THREADS, r = index / units;
    if (index >= total)
      return;
    float v[8];
    tables.decode(w, words[i], v);
    *(uint2 *)(codes + r * stride + (int64_t)(index - r * units) * 8) = encode8(v, reciprocal(scales[r]));
  }
}

// MARK: Weights, transposed: element c of row r at codes + c * stride + r
//
// A block turns a tile of 64 rows by 128 columns: a warp reads the eights of 32 rows, whose sectors the other
// warps' eights share, and stores whole pieces of 16 bytes.

enum { TILE_ROWS = 64, TILE_COLUMNS = 128, TILE_STRIDE = TILE_ROWS + 16, ROW_THREADS = THREADS / TILE_ROWS };

struct transposed_tile {
  __align__(16) uint8_t codes[TILE_COLUMNS * TILE_STRIDE];

  __device__ __forceinline__ void put(int row, int column, uint2 eight) {
#pragma unroll
    for (int j = 0; j < 8; j++)
      codes[(column + j) * TILE_STRIDE + row] = (uint8_t)((j < 4 ? eight.x : eight.y) >> 8 * (j % 4));
  }

  // The tile at (row, column) of w.
  __device__ __forceinline__ void store(const weight &w, int64_t row, int64_t column, uint8_t *to,
                                        int64_t stride) const {
#pragma unroll
    for (int i = threadIdx.x; i < TILE_COLUMNS * TILE_ROWS / 16; i += THREADS) {
      const int c = i / (TILE_ROWS / 16), piece = i % (TILE_ROWS / 16) * 16;
      if (column + c < w.columns && row + piece < w.rows)
        *(uint4 *)(to + (column + c) * stride + row + piece) =
            *(const uint4 *)(codes + c * TILE_STRIDE + piece);
    }
  }
};

template <bool IS_NF4>
DEVICE void float8_weight_transposed(const weight &w, const float *scales, uint8_t *codes, int64_t stride) {
  __shared__ transposed_tile tile;
  __shared__ nf4_tables tables;
  const int64_t row = (int64_t)blockIdx.y * TILE_ROWS, column = (int64_t)blockIdx.x * TILE_COLUMNS;
  const int within = threadIdx.x % TILE_ROWS, first = threadIdx.x / TILE_ROWS * 8;
  const int64_t r = row + within;
  constexpr int EIGHTS = TILE_COLUMNS / 8 / ROW_THREADS;
  nf4_word words[EIGHTS];
  if (IS_NF4) {
    tables.fill(w);
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
      const int64_t c = column + first + i * ROW_THREADS * 8;
      words[i] = r < w.rows && c < w.columns ? load_nf4(w, (uint32_t)((r * w.columns + c) / 8)) : nf4_word{};
    }
    __syncthreads();
  }
  const float inverse = r < w.rows ? reciprocal(scales[r]) : 0.0f;
#pragma unroll
  for (int i = 0; i < EIGHTS; i++) {
    const int c = first + i * ROW_THREADS * 8;
    if (r < w.rows && column + c < w.columns) {
      float v[8];
      if (IS_NF4)
        tables.decode(w, words[i], v);
      else
        decode8(w, r, column + c, 8, v);
      tile.put(within, c, encode8(v, inverse));
    }
  }
  __syncthreads();
  tile.store(w, row, column, codes, stride);
}

KERNEL __launch_bounds__(THREADS)
    float8_weight_transposed(weight w, const float *scales, uint8_t *codes, int64_t stride) {
  float8_weight_transposed<false>(w, scales, codes, stride);
}
KERNEL __launch_bounds__(THREADS)
    float8_weight_transposed_nf4(weight w, const float *scales, uint8_t *codes, int64_t stride) {
  float8_weight_transposed<true>(w, scales, codes, stride);
}
