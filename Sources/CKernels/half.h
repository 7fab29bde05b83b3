// IEEE 754 halves in plain arithmetic, so that loops over them vectorise without F16C.
#pragma once
#include "include/kernel.h"

SW_INLINE uint32_t to_bits(float value) {
  union {
    float value;
    uint32_t bits;
  } u = {.value = value};
  return u.bits;
}

SW_INLINE float from_bits(uint32_t bits) {
  union {
    uint32_t bits;
    float value;
  } u = {.bits = bits};
  return u.value;
}

// Half to float, exact. The bits, shifted into a float's places, are 2^-112 of the value; subnormals too,
// which the product makes normal.
SW_INLINE float from_f16(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
  union {
    float value;
    uint32_t bits;
  } scaled = {.value = from_bits(magnitude) * 0x1p112f};
  uint32_t exponent = magnitude >= (31u << 23) ? 0xFFu << 23 : 0; // infinity and NaN
  return from_bits(sign | scaled.bits | exponent);
}

// Nearest half, ties to even; too large becomes infinite, NaN stays NaN (quiet).
SW_INLINE uint16_t to_f16(float value) {
  uint32_t bits = to_bits(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
  uint32_t normal = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  // Below 2^-14 halves are multiples of 2^-24, as are floats next to 0.5: the addition rounds.
  uint32_t subnormal = to_bits(__builtin_fabsf(value) + 0.5f) - to_bits(0.5f);
  uint32_t finite = magnitude < 113u << 23 ? subnormal : normal;
  uint32_t special = magnitude > 0x7F800000 ? 0x7E00 : 0x7C00;
  return (uint16_t)(sign | (magnitude >= 143u << 23 ? special : finite));
}
