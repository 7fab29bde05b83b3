// Quantisation to bitsandbytes' formats: the same operations in the same order, so that the codes are the
// same.
#include "half.h"
#include "include/quantize.h"
#include <float.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

// The largest |in[i]|, or NaN when there is one. Without the sign bit floats order like integers, whose
// maximum vectorises.
SW_INLINE float largest_magnitude(const float *in, int64_t count) {
  union {
    uint32_t bits;
    float value;
  } largest = {.bits = 0};
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits = to_bits(in[i]) & 0x7FFFFFFF;
    largest.bits = bits > largest.bits ? bits : largest.bits;
  }
  return largest.value;
}

SW_KERNEL void sw_quantize_nf4(const float *in, int64_t count, const float table[16], uint8_t *codes,
                               float *absmax) {
  float bound[15];
  for (int k = 0; k < 15; k++)
    bound[k] = (table[k] + table[k + 1]) / 2;
  for (int64_t at = 0; at < count; at += 64) {
    int64_t size = count - at < 64 ? count - at : 64;
    float block[64] = {0};
    memcpy(block, in + at, (size_t)size * sizeof(float));
    absmax[at / 64] = largest_magnitude(block, size);
    // The least divisor keeps the scale finite, so that a block of zeros gets the code of 0.
    float scale = 1.0f / (absmax[at / 64] < 1e-38f ? 1e-38f : absmax[at / 64]);
    uint32_t code[64];
    for (int i = 0; i < 64; i++) {
      float value = block[i] * scale;
      uint32_t below = 0;
      for (int k = 0; k < 15; k++)
        below += value > bound[k];
      code[i] = below;
    }
    for (int i = 0; i < (size + 1) / 2; i++) {
      codes[at / 2 + i] = (uint8_t)(code[2 * i] << 4 | code[2 * i + 1]);
    }
  }
}

void sw_quantize_dynamic(const float *in, int64_t count, float offset, const float map[256], uint8_t *codes,
                         float *absmax) {
  for (int64_t at = 0; at < count; at += 256) {
    int64_t size = count - at < 256 ? count - at : 256;
    float block[256];
    for (int64_t i = 0; i < size; i++)
      block[i] = in[at + i] - offset;
    absmax[at / 256] = largest_magnitude(block, size);
    // A block of zeros gets NaN here, hence the codes 0, as in bitsandbytes; they decode to 0 all the same.
    float scale = 1.0f / absmax[at / 256];
    for (int64_t i = 0; i < size; i++) {
      float value = block[i] * scale;
      // The number of midpoints below `value`, by bisection over 255 of them.
      unsigned below = 0;
      for (unsigned step = 128; step; step /= 2) {
        float midpoint = (map[below + step - 1] + map[below + step]) / 2;
        below += value > midpoint ? step : 0;
      }
      codes[at + i] = (uint8_t)below;
    }
  }
}

SW_KERNEL float sw_quantize_int8(const float *in, int64_t count, int8_t *codes) {
  float absmax = largest_magnitude(in, count);
  float scale = (1.0f / absmax) * 127.0f;
  // A row of zeros, of numbers too small to divide 127 by, or one that holds an infinity or NaN; the latter
  // decodes to NaN, for its absmax.
  if (!(scale > 0 && scale <= FLT_MAX)) {
    memset(codes, 0, (size_t)count);
    return absmax;
  }
  for (int64_t i = 0; i < count; i++)
    codes[i] = (int8_t)__builtin_rintf(in[i] * scale);
  return absmax;
}

// MARK: - 16-bit

SW_KERNEL void sw_encode(const float *in, int64_t count, sw_format format, void *out) {
  typedef uint16_t unaligned_u16 __attribute__((aligned(1)));
  unaligned_u16 *halves = out;
  switch (format) {
  case SW_W_F16:
    for (int64_t i = 0; i < count; i++)
      halves[i] = to_f16(in[i]);
    break;
  case SW_W_BF16:
    for (int64_t i = 0; i < count; i++)
      halves[i] = sw_to_bf16(in[i]);
    break;
  case SW_W_F32:
    memcpy(out, in, (size_t)count * sizeof(float));
    break;
  default:
    __builtin_trap();
  }
}
