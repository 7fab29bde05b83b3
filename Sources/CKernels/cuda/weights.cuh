// Decoding of weights on the device: the counterpart of ../weights.c, with the same values to the bit.
//
// Block layouts: ggml-common.h (block_q4_0 ... block_q6_K), read byte by byte, for nothing aligns them.
// Products and sums are rounded one by one (no contraction to FMA), as everywhere else.
#pragma once
#include "common.cuh"

// sw_format of weights.h.
enum weight_format : int32_t {
  W_F32,
  W_F16,
  W_BF16,
  W_Q4_0,
  W_Q4_1,
  W_Q5_0,
  W_Q5_1,
  W_Q8_0,
  W_Q4_K,
  W_Q5_K,
  W_Q6_K,
  W_NF4,
  W_INT8,
};

// sw_weight of weights.h, which says what the fields mean.
struct weight {
  const void *data;
  int64_t rows, columns;
  weight_format format;
  int32_t interleaved_head;
  const float *code, *absmax;
  const uint8_t *absmax_codes;
  const float *absmax_map, *nested_absmax;
  float nested_offset;
  const float *row_scale;
};

DEVICE bool is_aligned(const void *address, int bytes) { return (uint64_t)address % bytes == 0; }

DEVICE float from_f16(uint32_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((uint16_t)bits));
  return value;
}

DEVICE float read_f16(const uint8_t *at) { return from_f16(at[0] | at[1] << 8); }

DEVICE uint32_t read_u32(const uint8_t *at) {
  return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

// d * q + m
DEVICE float affine(float d, int q, float m) { return __fadd_rn(__fmul_rn(d, (float)q), m); }

// MARK: Eight elements of a block of 32, from element `at` (a multiple of 8) on

// The low nibbles are the first 16 elements, the high ones the last 16.
DEVICE int nibble32(const uint8_t *q, int at) { return q[at % 16] >> at / 16 * 4 & 15; }

DEVICE void decode_q4_0(const uint8_t *block, int at, float out[8]) {
  float d = read_f16(block);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = __fmul_rn(d, (float)(nibble32(block + 2, at + i) - 8));
}

DEVICE void decode_q4_1(const uint8_t *block, int at, float out[8]) {
  float d = read_f16(block), m = read_f16(block + 2);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = affine(d, nibble32(block + 4, at + i), m);
}

DEVICE void decode_q5_0(const uint8_t *block, int at, float out[8]) {
  float d = read_f16(block);
  uint32_t high = read_u32(block + 2) >> at;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int q = nibble32(block + 6, at + i) | (high >> i & 1) << 4;
    out[i] = __fmul_rn(d, (float)(q - 16));
  }
}

DEVICE void decode_q5_1(const uint8_t *block, int at, float out[8]) {
  float d = read_f16(block), m = read_f16(block + 2);
  uint32_t high = read_u32(block + 4) >> at;
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = affine(d, nibble32(block + 8, at + i) | (high >> i & 1) << 4, m);
}

DEVICE void decode_q8_0(const uint8_t *block, int at, float out[8]) {
  float d = read_f16(block);
  const int8_t *q = (const int8_t *)(block + 2) + at;
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = __fmul_rn(d, (float)q[i]);
}

// MARK: Eight elements of a block of 256, from element `at` on

// The factor and the minimum of the 32 elements `group` of Q4_K and Q5_K (see unpack_scales in weights.c).
DEVICE void k_scales(const uint8_t *block, int group, float &d, float &minimum) {
  const uint8_t *packed = block + 4 + group % 4;
  int scale = packed[0], least = packed[4];
  if (group < 4) {
    scale &= 63;
    least &= 63;
  } else {
    scale = (packed[8] & 15) | scale >> 6 << 4;
    least = packed[8] >> 4 | least >> 6 << 4;
  }
  d = __fmul_rn(read_f16(block), (float)scale);
  minimum = __fmul_rn(read_f16(block + 2), (float)least);
}

DEVICE void decode_q4_K(const uint8_t *block, int at, float out[8]) {
  int group = at / 32;
  const uint8_t *q = block + 16 + group / 2 * 32 + at % 32;
  float d, minimum;
  k_scales(block, group, d, minimum);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = affine(d, q[i] >> group % 2 * 4 & 15, -minimum);
}

// As Q4_K; bit `group` of high[i] is the fifth bit.
DEVICE void decode_q5_K(const uint8_t *block, int at, float out[8]) {
  int group = at / 32;
  const uint8_t *high = block + 16 + at % 32, *q = block + 48 + group / 2 * 32 + at % 32;
  float d, minimum;
  k_scales(block, group, d, minimum);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = affine(d, (q[i] >> group % 2 * 4 & 15) | (high[i] >> group & 1) << 4, -minimum);
}

// Each half of 128 has 64 bytes of low nibbles and 32 of high bits, two for each of its four 32s.
DEVICE void decode_q6_K(const uint8_t *block, int at, float out[8]) {
  int half = at / 128, group = at % 128 / 32, within = at % 32;
  const uint8_t *low = block + 64 * half + group % 2 * 32 + within;
  const uint8_t *high = block + 128 + 32 * half + within;
  const int8_t *scale = (const int8_t *)(block + 192 + 8 * half);
  float d = __fmul_rn(read_f16(block + 208), (float)scale[2 * group + within / 16]);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int q = (low[i] >> group / 2 * 4 & 15) | (high[i] >> 2 * group & 3) << 4;
    out[i] = __fmul_rn(d, (float)(q - 32));
  }
}

// MARK: bitsandbytes, from element `at` of the matrix on

DEVICE float nf4_absmax(const weight &w, int64_t block) {
  if (w.absmax)
    return w.absmax[block];
  return __fadd_rn(__fmul_rn(w.absmax_map[w.absmax_codes[block]], w.nested_absmax[block / 256]),
                   w.nested_offset);
}

DEVICE void decode_nf4(const weight &w, int64_t at, int count, float out[8]) {
  const uint8_t *codes = (const uint8_t *)w.data;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (i >= count)
      break;
    int64_t element = at + i;
    int code = codes[element / 2] >> (element % 2 ? 0 : 4) & 15;
    out[i] = __fmul_rn(w.code[code], nf4_absmax(w, element / 64));
  }
}

// MARK: NF4 in whole words of eight codes, in Hugging Face's order, `data` a multiple of 4 bytes: at memory's
// speed

// A word on its way from memory.
struct nf4_word {
  uint32_t codes;
  float absmax;    // the block's, or its group's
  int absmax_code; // of the block, when double-quantised
};

DEVICE nf4_word load_nf4(const weight &w, uint32_t index) {
  const uint32_t block = index / 8;
  return {__ldcs((const uint32_t *)w.data + index), w.absmax ? w.absmax[block] : w.nested_absmax[block / 256],
          w.absmax ? 0 : w.absmax_codes[block]};
}

// A weight's tables in shared memory, where the sixteen values lie in as many banks.
struct nf4_tables {
  float value[16], map[256];

  // By a block of 256 threads, which must meet before they decode.
  __device__ __forceinline__ void fill(const weight &w) {
    if (threadIdx.x < 16)
      value[threadIdx.x] = w.code[threadIdx.x];
    if (!w.absmax)
      map[threadIdx.x] = w.absmax_map[threadIdx.x];
  }

  __device__ __forceinline__ void decode(const weight &w, const nf4_word &word, float out[8]) const {
    const float largest =
        w.absmax ? word.absmax : __fadd_rn(__fmul_rn(map[word.absmax_code], word.absmax), w.nested_offset);
#pragma unroll
    for (int i = 0; i < 8; i++) // high nibble first within each byte
      out[i] = __fmul_rn(value[word.codes >> (i ^ 1) * 4 & 15], largest);
  }
};

// MARK: Elements that need no block: floats, and INT8's codes

// Eight neighbours, of which the first `count` exist: one or two loads where the address allows.
template <typename T> DEVICE vec<T, 8> read8(const T *at, int count) {
  vec<T, 8> values = {};
  if (count == 8 && is_aligned(at, sizeof values))
    return *(const vec<T, 8> *)at;
#pragma unroll
  for (int i = 0; i < 8; i++)
    if (i < count)
      values.at[i] = at[i];
  return values;
}

DEVICE void decode_f32(const float *at, int count, float out[8]) {
  const auto values = read8(at, count);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = values.at[i];
}

DEVICE void decode_f16(const uint16_t *at, int count, float out[8]) {
  const auto values = read8(at, count);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = from_f16(values.at[i]);
}

DEVICE void decode_bf16(const uint16_t *at, int count, float out[8]) {
  const auto values = read8(at, count);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = to_float(bf16{values.at[i]});
}

// w = (q * scale) * (1/127)
DEVICE void decode_int8(const int8_t *at, float scale, int count, float out[8]) {
  const auto values = read8(at, count);
#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = __fmul_rn(__fmul_rn((float)values.at[i], scale), 1.0f / 127.0f);
}

// MARK: -

// The row of the file that holds row `row` (see interleaved_head in weights.h).
DEVICE int64_t file_row(const weight &w, int64_t row) {
  if (!w.interleaved_head)
    return row;
  int64_t head = w.interleaved_head, within = row % head, half = head / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

// Elements [first, first + count) of row `row` as floats, 1 <= count <= 8. In a format of blocks `first` is a
// multiple of 8 and count is 8, as it always can be there; in the others both are arbitrary within the row.
// What lies in out[count...] afterwards is unspecified.
DEVICE void decode8(const weight &w, int64_t row, int64_t first, int count, float out[8]) {
  row = file_row(w, row);
  const int64_t at = row * w.columns + first;
  const uint8_t *data = (const uint8_t *)w.data;
  switch (w.format) {
  case W_F32:
    return decode_f32((const float *)data + at, count, out);
  case W_F16:
    return decode_f16((const uint16_t *)data + at, count, out);
  case W_BF16:
    return decode_bf16((const uint16_t *)data + at, count, out);
  case W_Q4_0:
    return decode_q4_0(data + at / 32 * 18, at % 32, out);
  case W_Q4_1:
    return decode_q4_1(data + at / 32 * 20, at % 32, out);
  case W_Q5_0:
    return decode_q5_0(data + at / 32 * 22, at % 32, out);
  case W_Q5_1:
    return decode_q5_1(data + at / 32 * 24, at % 32, out);
  case W_Q8_0:
    return decode_q8_0(data + at / 32 * 34, at % 32, out);
  case W_Q4_K:
    return decode_q4_K(data + at / 256 * 144, at % 256, out);
  case W_Q5_K:
    return decode_q5_K(data + at / 256 * 176, at % 256, out);
  case W_Q6_K:
    return decode_q6_K(data + at / 256 * 210, at % 256, out);
  case W_NF4:
    return decode_nf4(w, at, count, out);
  case W_INT8:
    return decode_int8((const int8_t *)data + at, w.row_scale[row], count, out);
  }
}
