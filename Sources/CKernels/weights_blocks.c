// Quantisation to ggml's blocks. Their layouts are described where they are decoded, in weights.c.
#include "half.h"
#include "include/quantize.h"
#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

SW_INLINE void write_u16(uint8_t *out, uint16_t value) { memcpy(out, &value, sizeof value); }

// Writes `value` as a half and returns what it will be read as.
SW_INLINE float write_f16(uint8_t *out, float value) {
  uint16_t half = to_f16(value);
  write_u16(out, half);
  return from_f16(half);
}

// 0 for what is too small to have one.
SW_INLINE float inverse(float value) { return fabsf(value) > 1e-37f ? 1 / value : 0; }

SW_INLINE int clamped(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

// Nearest, ties to even.
SW_INLINE int nearest(float value) { return (int)rintf(value); }

// The element of largest magnitude, with its sign.
SW_INLINE float extreme(const float *in, int count) {
  float found = 0;
  for (int i = 0; i < count; i++)
    found = fabsf(in[i]) > fabsf(found) ? in[i] : found;
  return found;
}

SW_INLINE void limits(const float *in, int count, float *low, float *high) {
  *low = *high = in[0];
  for (int i = 1; i < count; i++) {
    *low = in[i] < *low ? in[i] : *low;
    *high = in[i] > *high ? in[i] : *high;
  }
}

// MARK: - Blocks of 32

// The low nibbles hold the first 16 codes, the high ones the last 16.
SW_INLINE void pack_nibbles(const uint8_t code[32], uint8_t *out) {
  for (int i = 0; i < 16; i++)
    out[i] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
}

SW_INLINE void pack_fifth_bits(const uint8_t code[32], uint8_t *out) {
  uint32_t high = 0;
  for (int i = 0; i < 32; i++)
    high |= (uint32_t)(code[i] >> 4) << i;
  memcpy(out, &high, sizeof high);
}

// w = d * (q - levels / 2): the extreme element gets the code 0, exactly.
SW_INLINE void symmetric_codes(const float *in, int levels, uint8_t *scale, uint8_t code[32]) {
  float d = extreme(in, 32) / (float)(-levels / 2);
  float factor = inverse(d);
  write_f16(scale, d);
  for (int i = 0; i < 32; i++)
    code[i] = (uint8_t)clamped((int)(in[i] * factor + ((float)levels / 2 + 0.5f)), 0, levels - 1);
}

// w = d * q + m, m the least element.
SW_INLINE void offset_codes(const float *in, int levels, uint8_t *scale, uint8_t code[32]) {
  float low, high;
  limits(in, 32, &low, &high);
  float d = (high - low) / (float)(levels - 1);
  float factor = inverse(d);
  write_f16(scale, d);
  write_f16(scale + 2, low);
  for (int i = 0; i < 32; i++)
    code[i] = (uint8_t)clamped((int)((in[i] - low) * factor + 0.5f), 0, levels - 1);
}

SW_INLINE void encode_q4_0(const float *in, uint8_t *out) {
  uint8_t code[32];
  symmetric_codes(in, 16, out, code);
  pack_nibbles(code, out + 2);
}

SW_INLINE void encode_q4_1(const float *in, uint8_t *out) {
  uint8_t code[32];
  offset_codes(in, 16, out, code);
  pack_nibbles(code, out + 4);
}

SW_INLINE void encode_q5_0(const float *in, uint8_t *out) {
  uint8_t code[32];
  symmetric_codes(in, 32, out, code);
  pack_fifth_bits(code, out + 2);
  pack_nibbles(code, out + 6);
}

SW_INLINE void encode_q5_1(const float *in, uint8_t *out) {
  uint8_t code[32];
  offset_codes(in, 32, out, code);
  pack_fifth_bits(code, out + 4);
  pack_nibbles(code, out + 8);
}

SW_INLINE void encode_q8_0(const float *in, uint8_t *out) {
  float d = fabsf(extreme(in, 32)) / 127;
  float factor = inverse(d);
  write_f16(out, d);
  // Halves away from zero, as ggml has it.
  for (int i = 0; i < 32; i++)
    out[2 + i] = (uint8_t)(int8_t)roundf(in[i] * factor);
}

// MARK: - Q4_K and Q5_K

enum { SUPER = 256, GROUP = 32, GROUPS = SUPER / GROUP };

// How a group's scale is sought: the range is stretched in steps.
typedef struct {
  int levels;
  float first, step;
  int steps;
} search;

// The scale and the minimum m >= 0 for which scale * q - m is nearest to the group, in squares weighted by
// the root mean square plus the element's magnitude. For each stretch of the range the codes are rounded, and
// scale and minimum are then the least-squares solution for these codes; the next trial starts from the best
// minimum so far.
SW_INLINE float fit_group(const float *in, search s, float *minimum) {
  float squares = 0, weight[GROUP];
  for (int i = 0; i < GROUP; i++)
    squares += in[i] * in[i];
  float typical = sqrtf(squares / GROUP);
  float low, high, sum_w = 0, sum_x = 0;
  limits(in, GROUP, &low, &high);
  low = low > 0 ? 0 : low;
  for (int i = 0; i < GROUP; i++) {
    weight[i] = typical + fabsf(in[i]);
    sum_w += weight[i];
    sum_x += weight[i] * in[i];
  }
  *minimum = -low;
  if (high <= low)
    return 0;
  float most = (float)(s.levels - 1), best_scale = (high - low) / most, best_error = INFINITY;
  for (int trial = -1; trial <= s.steps; trial++) {
    // First the plain range, with its own scale and minimum.
    float stretch = trial < 0 ? 0 : s.first + s.step * (float)trial;
    float factor = (stretch + most) / (high - low);
    float sum_q = 0, sum_qq = 0, sum_xq = 0, q[GROUP];
    for (int i = 0; i < GROUP; i++) {
      q[i] = (float)clamped(nearest(factor * (in[i] - low)), 0, s.levels - 1);
      sum_q += weight[i] * q[i];
      sum_qq += weight[i] * q[i] * q[i];
      sum_xq += weight[i] * q[i] * in[i];
    }
    float scale = best_scale, offset = low;
    if (trial >= 0) {
      float determinant = sum_w * sum_qq - sum_q * sum_q;
      if (determinant <= 0)
        continue;
      scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
      offset = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
      if (offset > 0) {
        offset = 0;
        scale = sum_xq / sum_qq;
      }
    }
    float error = 0;
    for (int i = 0; i < GROUP; i++) {
      float difference = scale * q[i] + offset - in[i];
      error += weight[i] * difference * difference;
    }
    if (error < best_error) {
      best_error = error;
      best_scale = scale;
      low = offset;
    }
  }
  *minimum = -low;
  return best_scale;
}

// The eight scales and minima in six bits each: see `unpack_scales` in weights.c.
SW_INLINE void pack_scales(const uint8_t scale[GROUPS], const uint8_t minimum[GROUPS], uint8_t packed[12]) {
  for (int i = 0; i < 4; i++) {
    packed[i] = (uint8_t)(scale[i] | (scale[i + 4] >> 4) << 6);
    packed[i + 4] = (uint8_t)(minimum[i] | (minimum[i + 4] >> 4) << 6);
    packed[i + 8] = (uint8_t)((scale[i + 4] & 15) | (minimum[i + 4] & 15) << 4);
  }
}

// Writes d, dmin and the packed scales, 16 bytes, and the codes for the scales as they will be read.
SW_INLINE void offset_groups(const float *in, search s, uint8_t *out, uint8_t code[SUPER]) {
  float scale[GROUPS], minimum[GROUPS], largest_scale = 0, largest_minimum = 0;
  for (int group = 0; group < GROUPS; group++) {
    scale[group] = fit_group(in + GROUP * group, s, &minimum[group]);
    largest_scale = fmaxf(largest_scale, scale[group]);
    largest_minimum = fmaxf(largest_minimum, minimum[group]);
  }
  uint8_t scales[GROUPS], minima[GROUPS];
  for (int group = 0; group < GROUPS; group++) {
    scales[group] = (uint8_t)clamped(nearest(63 * inverse(largest_scale) * scale[group]), 0, 63);
    minima[group] = (uint8_t)clamped(nearest(63 * inverse(largest_minimum) * minimum[group]), 0, 63);
  }
  float d = write_f16(out, largest_scale / 63), dmin = write_f16(out + 2, largest_minimum / 63);
  pack_scales(scales, minima, out + 4);
  for (int i = 0; i < SUPER; i++) {
    float step = d * scales[i / GROUP], shift = dmin * minima[i / GROUP];
    code[i] = step > 0 ? (uint8_t)clamped(nearest((in[i] + shift) / step), 0, s.levels - 1) : 0;
  }
}

// Low nibbles: of each 64 elements the first 32; high nibbles: the last.
SW_INLINE void pack_group_nibbles(const uint8_t code[SUPER], uint8_t *out) {
  for (int i = 0; i < SUPER / 2; i++) {
    int at = i / 32 * 64 + i % 32;
    out[i] = (uint8_t)((code[at] & 15) | (code[at + 32] & 15) << 4);
  }
}

SW_INLINE void encode_q4_K(const float *in, uint8_t *out) {
  uint8_t code[SUPER];
  offset_groups(in, (search){.levels = 16, .first = -1, .step = 0.1f, .steps = 20}, out, code);
  pack_group_nibbles(code, out + 16);
}

SW_INLINE void encode_q5_K(const float *in, uint8_t *out) {
  uint8_t code[SUPER], *high = out + 16;
  offset_groups(in, (search){.levels = 32, .first = -0.5f, .step = 0.1f, .steps = 15}, out, code);
  memset(high, 0, 32);
  for (int i = 0; i < SUPER; i++)
    high[i % 32] |= (uint8_t)((code[i] >> 4) << i / 32);
  pack_group_nibbles(code, out + 48);
}

// MARK: - Q6_K

// The signed scale for which scale * q, -32 <= q < 32, is nearest to 16 elements, in squares weighted by the
// elements' own. For codes q the best scale is sum(w x q) / sum(w q q), and what it leaves is least where
// sum(w x q)^2 / sum(w q q) is largest.
SW_INLINE float fit_symmetric(const float *in) {
  float peak = extreme(in, 16), best = 0, best_scale = 0;
  if (fabsf(peak) < 1e-15f)
    return 0;
  for (int trial = -1; trial < 18; trial++) {
    // The plain range first, then stretched and shrunk by up to 0.9.
    float stretch = trial < 0 ? 0 : 0.1f * (float)(trial < 9 ? trial - 9 : trial - 8);
    float factor = -(32 + stretch) / peak, sum_xq = 0, sum_qq = 0;
    for (int i = 0; i < 16; i++) {
      float q = (float)clamped(nearest(factor * in[i]), -32, 31), weight = in[i] * in[i];
      sum_xq += weight * in[i] * q;
      sum_qq += weight * q * q;
    }
    if (sum_qq > 0 && sum_xq * sum_xq > best * sum_qq) {
      best_scale = sum_xq / sum_qq;
      best = best_scale * sum_xq;
    }
  }
  return best_scale;
}

SW_INLINE void encode_q6_K(const float *in, uint8_t *out) {
  float scale[16];
  for (int group = 0; group < 16; group++)
    scale[group] = fit_symmetric(in + 16 * group);
  float factor = -128 * inverse(extreme(scale, 16));
  float d = write_f16(out + 208, inverse(factor));
  uint8_t code[SUPER];
  for (int group = 0; group < 16; group++) {
    int quantised = clamped(nearest(factor * scale[group]), -128, 127);
    out[192 + group] = (uint8_t)(int8_t)quantised;
    float step = d * (float)quantised;
    for (int i = 16 * group; i < 16 * group + 16; i++)
      code[i] = (uint8_t)(step != 0 ? clamped(nearest(in[i] / step), -32, 31) + 32 : 32);
  }
  for (int half = 0; half < 2; half++) {
    const uint8_t *q = code + 128 * half;
    uint8_t *low = out + 64 * half, *high = out + 128 + 32 * half;
    for (int i = 0; i < 32; i++) {
      low[i] = (uint8_t)((q[i] & 15) | (q[i + 64] & 15) << 4);
      low[i + 32] = (uint8_t)((q[i + 32] & 15) | (q[i + 96] & 15) << 4);
      high[i] = (uint8_t)(q[i] >> 4 | q[i + 32] >> 4 << 2 | q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6);
    }
  }
}

// MARK: -

#define ENCODE_BLOCKS(encode, elements, bytes)                                                               \
  for (int64_t block = 0; block < count / (elements); block++)                                               \
    encode(in + block * (elements), (uint8_t *)out + block * (bytes));                                       \
  break

SW_KERNEL void sw_quantize_blocks(const float *in, int64_t count, sw_format format, void *out) {
  switch (format) {
  case SW_W_Q4_0:
    ENCODE_BLOCKS(encode_q4_0, 32, 18);
  case SW_W_Q4_1:
    ENCODE_BLOCKS(encode_q4_1, 32, 20);
  case SW_W_Q5_0:
    ENCODE_BLOCKS(encode_q5_0, 32, 22);
  case SW_W_Q5_1:
    ENCODE_BLOCKS(encode_q5_1, 32, 24);
  case SW_W_Q8_0:
    ENCODE_BLOCKS(encode_q8_0, 32, 34);
  case SW_W_Q4_K:
    ENCODE_BLOCKS(encode_q4_K, 256, 144);
  case SW_W_Q5_K:
    ENCODE_BLOCKS(encode_q5_K, 256, 176);
  case SW_W_Q6_K:
    ENCODE_BLOCKS(encode_q6_K, 256, 210);
  default:
    __builtin_trap();
  }
}

SW_KERNEL void sw_add_low_rank(float *restrict w, int64_t rows, int64_t columns, const float *restrict b,
                               const float *restrict a, int64_t rank, float scale) {
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t r = 0; r < rank; r++) {
      float factor = scale * b[row * rank + r];
      for (int64_t c = 0; c < columns; c++)
        w[row * columns + c] += factor * a[r * columns + c];
    }
  }
}
