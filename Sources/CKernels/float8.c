#include "float8.h"
#include <math.h>
#include <string.h>

static const float LARGEST = 448;
// Rows whose largest magnitude is below are zero: its reciprocal would overflow.
static const float SMALLEST = 0x1p-100f;

uint8_t sw_to_e4m3(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint8_t sign = (uint8_t)(bits >> 24 & 0x80);
  const float magnitude = fabsf(value);
  if (value != value)
    return sign | 0x7F;
  if (magnitude >= LARGEST)
    return sign | 0x7E;
  if (magnitude < 0x1p-6f) // no leading one: multiples of 2^-9
    return sign | (uint8_t)nearbyintf(magnitude * 0x1p9f);
  bits &= 0x7FFFFFFF;
  // 20 of the 23 mantissa bits go, the exponent's bias from 127 to 7.
  const uint32_t rounded = (bits + 0x7FFFF + (bits >> 20 & 1)) >> 20;
  return sign | (uint8_t)(rounded - ((127 - 7) << 3));
}

float sw_from_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7)
    return NAN;
  const float magnitude =
      exponent == 0 ? ldexpf((float)mantissa, -9) : ldexpf((float)(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

static float scale_of(float largest) { return largest >= SMALLEST ? largest * (1 / LARGEST) : 0; }
static float reciprocal(float scale) { return scale > 0 ? 1 / scale : 0; }

static float element(sw_matrix x, int64_t row, int64_t column) {
  const int64_t at = row * x.stride + column;
  return x.dtype == SW_BF16 ? sw_from_bf16(((const sw_bf16 *)x.data)[at]) : ((const float *)x.data)[at];
}

void sw_float8_rows(sw_matrix x, const float *factors, uint8_t *codes, float *scales, int64_t begin,
                    int64_t end) {
  for (int64_t r = begin; r < end; r++) {
    float largest = 0;
    for (int64_t c = 0; c < x.columns; c++)
      largest = fmaxf(largest, fabsf(element(x, r, c) * (factors ? factors[c] : 1)));
    scales[r] = scale_of(largest);
    const float inverse = reciprocal(scales[r]);
    for (int64_t c = 0; c < x.columns; c++)
      codes[r * x.columns + c] = sw_to_e4m3(element(x, r, c) * (factors ? factors[c] : 1) * inverse);
  }
}

enum { PIECE = 256 }; // elements decoded at once: a multiple of every format's block

void sw_float8_weight_scales(const sw_weight *weight, float *scales, int64_t begin, int64_t end) {
  float piece[PIECE];
  for (int64_t r = begin; r < end; r++) {
    float largest = 0;
    for (int64_t first = 0; first < weight->columns; first += PIECE) {
      const int64_t count = weight->columns - first < PIECE ? weight->columns - first : PIECE;
      sw_weight_decode(weight, r, first, count, piece);
      for (int64_t c = 0; c < count; c++)
        largest = fmaxf(largest, fabsf(piece[c]));
    }
    scales[r] = scale_of(largest);
  }
}

void sw_float8_weight(const sw_weight *weight, const float *scales, bool transposed, uint8_t *codes,
                      int64_t stride, int64_t begin, int64_t end) {
  float piece[PIECE];
  for (int64_t r = begin; r < end; r++) {
    const float inverse = reciprocal(scales[r]);
    for (int64_t first = 0; first < weight->columns; first += PIECE) {
      const int64_t count = weight->columns - first < PIECE ? weight->columns - first : PIECE;
      sw_weight_decode(weight, r, first, count, piece);
      for (int64_t c = 0; c < count; c++) {
        const int64_t at = transposed ? (first + c) * stride + r : r * stride + first + c;
        codes[at] = sw_to_e4m3(piece[c] * inverse);
      }
    }
  }
}

void sw_float8_product(const uint8_t *left, const float *left_scales, const uint8_t *right,
                       const float *right_scales, int64_t k, sw_matrix addend, sw_matrix out, int64_t begin,
                       int64_t end) {
  float value[256];
  for (int code = 0; code < 256; code++)
    value[code] = sw_from_e4m3((uint8_t)code);
  for (int64_t i = begin; i < end; i++) {
    for (int64_t j = 0; j < out.columns; j++) {
      float sum = 0;
      for (int64_t c = 0; c < k; c++)
        sum += value[left[i * k + c]] * value[right[j * k + c]];
      sum *= left_scales[i] * right_scales[j];
      if (addend.data)
        sum += element(addend, i, j);
      if (out.dtype == SW_BF16)
        ((sw_bf16 *)out.data)[i * out.stride + j] = sw_to_bf16(sum);
      else
        ((float *)out.data)[i * out.stride + j] = sum;
    }
  }
}
