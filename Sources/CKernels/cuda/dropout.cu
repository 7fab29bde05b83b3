// Dropout with the masks of ../dropout.c, to the bit.
#include "common.cuh"

// Philox4x32-10: see ../philox.h.
DEVICE void philox(uint64_t seed, uint64_t position, uint64_t stream, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = (uint32_t)stream,
           c3 = (uint32_t)(stream >> 32), k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// A thread takes the four elements of one Philox counter. `counter`: the seed, and the micro-batch's number,
// which stands above the layer's in the stream.
template <typename T>
DEVICE void dropout(matrix x, uint32_t threshold, float scale, uint64_t layer, const uint64_t *counter,
                    matrix y) {
  int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (first >= x.columns)
    return;
  uint64_t seed = counter[0], stream = counter[1] << 16 | layer;
  for (int64_t r = blockIdx.y; r < x.rows; r += gridDim.y) {
    uint32_t words[4];
    philox(seed, ((uint64_t)r << 32) + first / 4, stream, words);
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (first + i < x.columns)
        row<T>(y, r)[first + i] =
            from_float<T>(words[i] >= threshold ? to_float(row<T>(x, r)[first + i]) * scale : 0.0f);
  }
}

KERNEL dropout_f32(matrix x, uint32_t threshold, float scale, uint64_t layer, const uint64_t *counter,
                   matrix y) {
  dropout<float>(x, threshold, scale, layer, counter, y);
}
KERNEL dropout_bf16(matrix x, uint32_t threshold, float scale, uint64_t layer, const uint64_t *counter,
                    matrix y) {
  dropout<bf16>(x, threshold, scale, layer, counter, y);
}
