// Decoding of weights: ggml's blocks, bitsandbytes' NF4 and INT8, 16- and 32-bit floats.
//
// Block layouts: ggml-common.h (block_q4_0 ... block_q6_K); all little-endian, no alignment. Products and
// sums are rounded one by one on every instruction set, so that a weight has the same value everywhere.
#include "include/weights.h"
#include "half.h"
#include <string.h>

#pragma STDC FP_CONTRACT OFF

// Files align nothing that is read through these.
typedef uint16_t unaligned_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t unaligned_u32 __attribute__((aligned(1), may_alias));
typedef float unaligned_f32 __attribute__((aligned(1), may_alias));

SW_INLINE float read_f16(const uint8_t *at) { return from_f16(*(const unaligned_u16 *)at); }

// MARK: - Blocks of 32

// w = d * (q - 8); the low nibbles are the first 16 elements, the high ones the last 16.
SW_INLINE void decode_q4_0(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block);
  const uint8_t *q = block + 2;
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((q[i] & 15) - 8);
    out[i + 16] = d * (float)((q[i] >> 4) - 8);
  }
}

// w = d * q + m
SW_INLINE void decode_q4_1(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block), m = read_f16(block + 2);
  const uint8_t *q = block + 4;
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)(q[i] & 15) + m;
    out[i + 16] = d * (float)(q[i] >> 4) + m;
  }
}

// w = d * (q - 16); bit i of `high` is the fifth bit of element i.
SW_INLINE void decode_q5_0(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block);
  uint32_t high = *(const unaligned_u32 *)(block + 2);
  const uint8_t *q = block + 6;
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((int)((q[i] & 15) | ((high >> i) & 1) << 4) - 16);
    out[i + 16] = d * (float)((int)((q[i] >> 4) | ((high >> (i + 16)) & 1) << 4) - 16);
  }
}

// w = d * q + m
SW_INLINE void decode_q5_1(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block), m = read_f16(block + 2);
  uint32_t high = *(const unaligned_u32 *)(block + 4);
  const uint8_t *q = block + 8;
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((q[i] & 15) | (int)(((high >> i) & 1) << 4)) + m;
    out[i + 16] = d * (float)((q[i] >> 4) | (int)(((high >> (i + 16)) & 1) << 4)) + m;
  }
}

// w = d * q
SW_INLINE void decode_q8_0(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block);
  const int8_t *q = (const int8_t *)(block + 2);
  for (int i = 0; i < 32; i++)
    out[i] = d * (float)q[i];
}

// MARK: - Blocks of 256

// The eight 6-bit scales and minima of Q4_K and Q5_K, packed in 12 bytes: the first four of each in the low
// six bits of bytes 0-3 and 4-7; of the last four the low four bits in the nibbles of bytes 8-11, the high
// two in the spare bits above.
SW_INLINE void unpack_scales(const uint8_t *packed, uint8_t scale[8], uint8_t minimum[8]) {
  for (int i = 0; i < 4; i++) {
    scale[i] = packed[i] & 63;
    minimum[i] = packed[i + 4] & 63;
    scale[i + 4] = (packed[i + 8] & 15) | (packed[i] >> 6) << 4;
    minimum[i + 4] = (packed[i + 8] >> 4) | (packed[i + 4] >> 6) << 4;
  }
}

// w = (d * scale) * q - (dmin * minimum), a scale and a minimum per 32.
SW_INLINE void decode_q4_K(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block), dmin = read_f16(block + 2);
  uint8_t scale[8], minimum[8];
  unpack_scales(block + 4, scale, minimum);
  for (int pair = 0; pair < 4; pair++) {
    const uint8_t *q = block + 16 + 32 * pair;
    float d0 = d * scale[2 * pair], m0 = dmin * minimum[2 * pair];
    float d1 = d * scale[2 * pair + 1], m1 = dmin * minimum[2 * pair + 1];
    float *y = out + 64 * pair;
    for (int i = 0; i < 32; i++) {
      y[i] = d0 * (float)(q[i] & 15) - m0;
      y[i + 32] = d1 * (float)(q[i] >> 4) - m1;
    }
  }
}

// As Q4_K; bit g of high[i] is the fifth bit of element i of the g-th 32.
SW_INLINE void decode_q5_K(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block), dmin = read_f16(block + 2);
  uint8_t scale[8], minimum[8];
  unpack_scales(block + 4, scale, minimum);
  const uint8_t *high = block + 16;
  for (int pair = 0; pair < 4; pair++) {
    const uint8_t *q = block + 48 + 32 * pair;
    float d0 = d * scale[2 * pair], m0 = dmin * minimum[2 * pair];
    float d1 = d * scale[2 * pair + 1], m1 = dmin * minimum[2 * pair + 1];
    float *y = out + 64 * pair;
    for (int i = 0; i < 32; i++) {
      int bits = high[i] >> (2 * pair);
      y[i] = d0 * (float)((q[i] & 15) | (bits & 1) << 4) - m0;
      y[i + 32] = d1 * (float)((q[i] >> 4) | (bits & 2) << 3) - m1;
    }
  }
}

// w = (d * scale) * (q - 32), a signed scale per 16. Each half of 128 has 64 bytes of low nibbles and 32 of
// high bits, two for each of its four 32s.
SW_INLINE void decode_q6_K(const uint8_t *restrict block, float *restrict out) {
  float d = read_f16(block + 208);
  for (int half = 0; half < 2; half++) {
    const uint8_t *low = block + 64 * half, *high = block + 128 + 32 * half;
    const int8_t *scale = (const int8_t *)(block + 192 + 8 * half);
    for (int part = 0; part < 2; part++) {
      float d0 = d * scale[part], d1 = d * scale[2 + part], d2 = d * scale[4 + part],
            d3 = d * scale[6 + part];
      const uint8_t *l = low + 16 * part, *h = high + 16 * part;
      float *y = out + 128 * half + 16 * part;
      for (int i = 0; i < 16; i++) {
        y[i] = d0 * (float)(((l[i] & 15) | (h[i] & 3) << 4) - 32);
        y[i + 32] = d1 * (float)(((l[i + 32] & 15) | (h[i] >> 2 & 3) << 4) - 32);
        y[i + 64] = d2 * (float)(((l[i] >> 4) | (h[i] >> 4 & 3) << 4) - 32);
        y[i + 96] = d3 * (float)(((l[i + 32] >> 4) | (h[i] >> 6) << 4) - 32);
      }
    }
  }
}

// Rows are decoded one after the other, in whole or in part, so the same blocks of a row further down are
// asked for.
enum { ROWS_AHEAD = 8 };

// Whole blocks go straight to `out`, the first elements of a last one through a buffer.
#define DECODE_BLOCKS(decode, elements, bytes)                                                               \
  do {                                                                                                       \
    const uint8_t *block = (const uint8_t *)weight->data + (at / (elements)) * (bytes);                      \
    int64_t whole = count / (elements), rest = count % (elements);                                           \
    int64_t ahead = ROWS_AHEAD * (weight->columns / (elements)) * (bytes);                                   \
    for (int64_t b = 0; b < whole; b++) {                                                                    \
      __builtin_prefetch(block + b * (bytes) + ahead);                                                       \
      decode(block + b * (bytes), out + b * (elements));                                                     \
    }                                                                                                        \
    if (rest) {                                                                                              \
      float buffer[elements];                                                                                \
      decode(block + whole * (bytes), buffer);                                                               \
      memcpy(out + whole * (elements), buffer, (size_t)rest * sizeof(float));                                \
    }                                                                                                        \
  } while (0)

// MARK: - bitsandbytes

typedef float float8 __attribute__((ext_vector_type(8), aligned(4)));
typedef uint32_t word8 __attribute__((ext_vector_type(8)));

SW_INLINE float nf4_absmax(const sw_weight *weight, int64_t block) {
  if (weight->absmax)
    return weight->absmax[block];
  float scaled = weight->absmax_map[weight->absmax_codes[block]] * weight->nested_absmax[block / 256];
  return scaled + weight->nested_offset;
}

// Eight elements from four bytes, high nibble first: element i lies `shift[i]` bits up in the little-endian
// word. The 16-entry table is two registers of 8, chosen between by the code's top bit.
SW_INLINE void decode_nf4_word(const uint8_t *codes, const float8 table[2], float absmax, float *out) {
  const word8 shift = {4, 0, 12, 8, 20, 16, 28, 24};
  word8 code = (word8) * (const unaligned_u32 *)codes >> shift;
  float8 low = __builtin_shufflevector(table[0], code & 7);
  float8 high = __builtin_shufflevector(table[1], code & 7);
  *(float8 *)out = ((code & 8) != 0 ? high : low) * absmax;
}

// Elements [at, at + count) of the matrix, row-major; blocks of 64 run across rows.
SW_INLINE void decode_nf4(const sw_weight *restrict weight, int64_t at, int64_t count, float *restrict out) {
  const uint8_t *codes = weight->data;
  const float8 table[2] = {*(const float8 *)weight->code, *(const float8 *)(weight->code + 8)};
  int64_t end = at + count;
  while (at < end) {
    int64_t block_end = (at / 64 + 1) * 64;
    int64_t stop = block_end < end ? block_end : end;
    float absmax = nf4_absmax(weight, at / 64);
    if (at & 1)
      *out++ = weight->code[codes[at / 2] & 15] * absmax, at++;
    for (; at + 8 <= stop; at += 8, out += 8)
      decode_nf4_word(codes + at / 2, table, absmax, out);
    for (; at < stop; at++) {
      *out++ = weight->code[at & 1 ? codes[at / 2] & 15 : codes[at / 2] >> 4] * absmax;
    }
  }
}

// w = (q * scale) * (1/127), as bitsandbytes' int8_vectorwise_dequant rounds it.
SW_INLINE void decode_int8(const int8_t *restrict q, float scale, int64_t count, float *restrict out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = ((float)q[i] * scale) * (1.0f / 127.0f);
}

// MARK: - 16-bit

SW_INLINE void decode_f16(const unaligned_u16 *restrict in, int64_t count, float *restrict out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = from_f16(in[i]);
}

SW_INLINE void decode_bf16(const unaligned_u16 *restrict in, int64_t count, float *restrict out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = sw_from_bf16(in[i]);
}

// MARK: -

int64_t sw_weight_file_row(const sw_weight *weight, int64_t row) {
  int64_t head = weight->interleaved_head;
  if (!head)
    return row;
  int64_t within = row % head, half = head / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

int64_t sw_weight_block(sw_format format) {
  switch (format) {
  case SW_W_F32:
  case SW_W_F16:
  case SW_W_BF16:
  case SW_W_INT8:
  case SW_W_NF4: // a block may begin anywhere in a row
    return 1;
  case SW_W_Q4_0:
  case SW_W_Q4_1:
  case SW_W_Q5_0:
  case SW_W_Q5_1:
  case SW_W_Q8_0:
    return 32;
  case SW_W_Q4_K:
  case SW_W_Q5_K:
  case SW_W_Q6_K:
    return 256;
  }
}

SW_KERNEL void sw_weight_decode(const sw_weight *weight, int64_t row, int64_t first, int64_t count,
                                float *out) {
  row = sw_weight_file_row(weight, row);
  int64_t at = row * weight->columns + first;
  switch (weight->format) {
  case SW_W_F32:
    memcpy(out, (const unaligned_f32 *)weight->data + at, (size_t)count * sizeof(float));
    break;
  case SW_W_F16:
    decode_f16((const unaligned_u16 *)weight->data + at, count, out);
    break;
  case SW_W_BF16:
    decode_bf16((const unaligned_u16 *)weight->data + at, count, out);
    break;
  case SW_W_Q4_0:
    DECODE_BLOCKS(decode_q4_0, 32, 18);
    break;
  case SW_W_Q4_1:
    DECODE_BLOCKS(decode_q4_1, 32, 20);
    break;
  case SW_W_Q5_0:
    DECODE_BLOCKS(decode_q5_0, 32, 22);
    break;
  case SW_W_Q5_1:
    DECODE_BLOCKS(decode_q5_1, 32, 24);
    break;
  case SW_W_Q8_0:
    DECODE_BLOCKS(decode_q8_0, 32, 34);
    break;
  case SW_W_Q4_K:
    DECODE_BLOCKS(decode_q4_K, 256, 144);
    break;
  case SW_W_Q5_K:
    DECODE_BLOCKS(decode_q5_K, 256, 176);
    break;
  case SW_W_Q6_K:
    DECODE_BLOCKS(decode_q6_K, 256, 210);
    break;
  case SW_W_NF4:
    decode_nf4(weight, at, count, out);
    break;
  case SW_W_INT8:
    decode_int8((const int8_t *)weight->data + at, weight->row_scale[row], count, out);
    break;
  }
}
