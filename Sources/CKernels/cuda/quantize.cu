// Weights to bitsandbytes' formats, with the codes and scales of ../weights_quantize.c to the bit.
#include "weights.cuh"

// Eight elements from number `at` of the matrix on, row-major; zeros past its end.
DEVICE void elements8(const weight &w, int64_t at, float out[8]) {
  const int64_t total = w.rows * w.columns;
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = 0;
  if (w.columns % 8 == 0) {
    if (at < total)
      decode8(w, at / w.columns, at % w.columns, 8, out);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (at + i >= total)
      break;
    float element[8];
    decode8(w, (at + i) / w.columns, (at + i) % w.columns, 1, element);
    out[i] = element[0];
  }
}

// Magnitudes as integers: without the sign bit floats order like them, NaN last.
DEVICE uint32_t magnitude(float value) { return __float_as_uint(value) & 0x7FFFFFFFu; }

DEVICE uint32_t warp_max(uint32_t value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

// The largest of a block's 256 values, in all threads.
DEVICE uint32_t block_max(uint32_t value) {
  __shared__ uint32_t partial[8];
  value = warp_max(value, 32);
  __syncthreads(); // the last call's are read
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_max(partial[threadIdx.x % 8], 8);
}

// The number of midpoints between neighbours of the ascending `table` that lie below `value`: the code of the
// nearest entry, a tie to the lower one; 0 for NaN.
template <int entries> DEVICE uint32_t nearest(const float *table, float value) {
  uint32_t below = 0;
  for (uint32_t step = entries / 2; step; step /= 2) {
    const float midpoint = __fadd_rn(table[below + step - 1], table[below + step]) * 0.5f;
    below += value > midpoint ? step : 0;
  }
  return below;
}

// NF4: eight threads share a block of 64 elements, a thread makes the four bytes of eight. 256 threads.
KERNEL quantize_nf4(weight w, const float *table, uint8_t *codes, float *absmax) {
  __shared__ float code[16];
  if (threadIdx.x < 16)
    code[threadIdx.x] = table[threadIdx.x];
  __syncthreads();
  const int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, at = thread * 8;
  const int64_t total = w.rows * w.columns;
  float values[8];
  elements8(w, at, values);
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < 8; i++)
    most = magnitude(values[i]) > most ? magnitude(values[i]) : most;
  const float largest = __uint_as_float(warp_max(most, 8));
  if (at >= total)
    return;
  if (thread % 8 == 0)
    absmax[thread / 8] = largest;
  // The least divisor keeps the scale finite, so that a block of zeros gets the code of 0.
  const float scale = __frcp_rn(largest < 1e-38f ? 1e-38f : largest);
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    if (at + i >= total)
      break;
    const uint32_t high = nearest<16>(code, __fmul_rn(values[i], scale));
    const uint32_t low = nearest<16>(code, __fmul_rn(values[i + 1], scale));
    codes[(at + i) / 2] = (uint8_t)(high << 4 | low);
  }
}

// NF4's scales, in 8 bits: a block of 256 threads per block of 256 scales.
KERNEL quantize_dynamic(const float *in, int64_t count, float offset, const float *map, uint8_t *codes,
                        float *absmax) {
  __shared__ float table[256];
  table[threadIdx.x] = map[threadIdx.x];
  const int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
  const float value = at < count ? __fsub_rn(in[at], offset) : 0.0f;
  const float largest = __uint_as_float(block_max(magnitude(value)));
  if (threadIdx.x == 0)
    absmax[blockIdx.x] = largest;
  // A block of zeros gets NaN here, hence the codes 0, as in bitsandbytes; they decode to 0 all the same.
  if (at < count)
    codes[at] = (uint8_t)nearest<256>(table, __fmul_rn(value, __frcp_rn(largest)));
}

// INT8: a block of 256 threads per row, which is read twice.
KERNEL quantize_int8(weight w, int8_t *codes, float *row_scale) {
  const int64_t row = blockIdx.x;
  const int step = w.columns % 8 == 0 ? 8 : 1;
  uint32_t most = 0;
  float values[8];
  for (int64_t first = (int64_t)threadIdx.x * step; first < w.columns; first += 256 * step) {
    decode8(w, row, first, step, values);
#pragma unroll
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (i < step)
        most = magnitude(values[i]) > most ? magnitude(values[i]) : most;
  }
  const float largest = __uint_as_float(block_max(most));
  if (threadIdx.x == 0)
    row_scale[row] = largest;
  const float scale = __fmul_rn(__frcp_rn(largest), 127.0f);
  // Not a row of zeros, of numbers too small to divide 127 by, or one that holds an infinity or NaN.
  const bool is_usable = scale > 0 && scale <= 3.402823466e38f;
  for (int64_t first = (int64_t)threadIdx.x * step; first < w.columns; first += 256 * step) {
    decode8(w, row, first, step, values);
#pragma unroll
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (i < step)
        codes[row * w.columns + first + i] =
            is_usable ? (int8_t)__float2int_rn(__fmul_rn(values[i], scale)) : 0;
  }
}
