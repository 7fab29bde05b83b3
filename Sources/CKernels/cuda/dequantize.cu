// Weights in any storage format to a row-major matrix that a product can read.
#include "weights.cuh"

// MARK: Stores of eight neighbours; `to` is a multiple of 16 bytes.

DEVICE uint32_t pack_bf16(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return to_bf16(low).bits | (uint32_t)to_bf16(high).bits << 16;
#endif
}

DEVICE void store8(bf16 *to, const float v[8]) {
  *(uint4 *)to =
      uint4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}

DEVICE void store8(float *to, const float v[8]) {
  ((float4 *)to)[0] = float4{v[0], v[1], v[2], v[3]};
  ((float4 *)to)[1] = float4{v[4], v[5], v[6], v[7]};
}

// MARK: Any format

// out = scale * w, rounded to out's type. One thread per eight elements of a row, `units` = ceil(columns / 8)
// threads a row, fewer than 2^32 in all.
template <typename T>
DEVICE void dequantize(const weight &w, float scale, T *out, int64_t stride, uint32_t units) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x, row = index / units;
  if (row >= w.rows)
    return;
  const int64_t first = (int64_t)(index - row * units) * 8, left = w.columns - first;
  const int count = left < 8 ? (int)left : 8;
  float values[8];
  decode8(w, row, first, count, values);
#pragma unroll
  for (int i = 0; i < 8; i++)
    values[i] = __fmul_rn(values[i], scale);
  T *to = out + row * stride + first;
  if (count == 8 && is_aligned(to, 16)) {
    store8(to, values);
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (i < count)
        to[i] = from_float<T>(values[i]);
  }
}

KERNEL dequantize_f32(weight w, float scale, float *out, int64_t stride, uint32_t units) {
  dequantize(w, scale, out, stride, units);
}
KERNEL dequantize_bf16(weight w, float scale, bf16 *out, int64_t stride, uint32_t units) {
  dequantize(w, scale, out, stride, units);
}

// MARK: NF4

// As above for NF4 whose rows are `units` whole words of eight codes: see weights.cuh. Every row of `out`
// starts at a multiple of 16 bytes.
//
// A base weight is decoded for every product, so this runs at memory's speed or costs whole percents of a
// step: each thread has its words on their way before it decodes one, and a warp's loads and stores are
// contiguous. Words are read once (evicted first); the output is not, the product wants it from cache.
enum { NF4_THREADS = 256, NF4_WORDS = 4 };

template <typename T>
DEVICE void dequantize_nf4(const weight &w, float scale, T *out, int64_t stride, uint32_t units) {
  __shared__ nf4_tables tables;
  const uint32_t total = (uint32_t)w.rows * units;
  const uint32_t first = blockIdx.x * (NF4_THREADS * NF4_WORDS) + threadIdx.x;
  tables.fill(w);
  nf4_word words[NF4_WORDS];
#pragma unroll
  for (int i = 0; i < NF4_WORDS; i++)
    words[i] = first + i * NF4_THREADS < total ? load_nf4(w, first + i * NF4_THREADS) : nf4_word{};
  __syncthreads();
  uint32_t row = first / units, column = first - row * units;
#pragma unroll
  for (int i = 0; i < NF4_WORDS; i++) {
    if (first + i * NF4_THREADS >= total)
      return;
    float values[8];
    tables.decode(w, words[i], values);
#pragma unroll
    for (int j = 0; j < 8; j++)
      values[j] = __fmul_rn(values[j], scale);
    store8(out + row * stride + (int64_t)column * 8, values);
    for (column += NF4_THREADS; column >= units; column -= units)
      row++;
  }
}

KERNEL __launch_bounds__(NF4_THREADS)
    dequantize_nf4_f32(weight w, float scale, float *out, int64_t stride, uint32_t units) {
  dequantize_nf4(w, scale, out, stride, units);
}
KERNEL __launch_bounds__(NF4_THREADS)
    dequantize_nf4_bf16(weight w, float scale, bf16 *out, int64_t stride, uint32_t units) {
  dequantize_nf4(w, scale, out, stride, units);
}
