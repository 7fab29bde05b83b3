// Element access and elementary functions for loops that are to be vectorised, the same for float and double.
#pragma once
#include "include/kernel.h"
#include <math.h>
#include <string.h>

#define SW_OVERLOAD SW_INLINE __attribute__((overloadable))

// Before a loop whose iterations are independent, or joined only by a sum in lanes: its outputs may be the
// very same memory as its inputs, which the compiler could not prove harmless.
#define SW_VECTOR _Pragma("clang loop vectorize(assume_safety)")

// First in a block whose sums may be added in vector lanes. The order is fixed by the instruction set and the
// number of terms alone.
#define SW_SUM_IN_LANES _Pragma("clang fp reassociate(on)")

SW_OVERLOAD float sw_load(const float *p) { return *p; }
SW_OVERLOAD float sw_load(const sw_bf16 *p) { return sw_from_bf16(*p); }
SW_OVERLOAD double sw_load(const double *p) { return *p; }

SW_OVERLOAD void sw_store(float *p, float value) { *p = value; }
SW_OVERLOAD void sw_store(sw_bf16 *p, float value) { *p = sw_to_bf16(value); }
SW_OVERLOAD void sw_store(double *p, double value) { *p = value; }

SW_OVERLOAD float sw_sqrt(float x) { return __builtin_elementwise_sqrt(x); }
SW_OVERLOAD double sw_sqrt(double x) { return __builtin_elementwise_sqrt(x); }
SW_OVERLOAD float sw_log(float x) { return logf(x); }
SW_OVERLOAD double sw_log(double x) { return log(x); }

// Where one is NaN, the other.
SW_OVERLOAD float sw_max(float x, float y) { return fmaxf(x, y); }
SW_OVERLOAD double sw_max(double x, double y) { return fmax(x, y); }

// exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 in two parts, |r| <= ln(2) / 2, exp(r) by its
// Taylor series. Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves n in the low bits of the sum,
// from where it is shifted onto the exponent. Results below the least normal number are 0.

// Error at most 0.9 ulp.
SW_OVERLOAD float sw_exp(float x) {
  const float magic = 0x1.8p23f;
  float shifted = x * 0x1.715476p0f + magic, n = shifted - magic;
  float r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
  float y = 1 / 5040.f;
  y = y * r + 1 / 720.f;
  y = y * r + 1 / 120.f;
  y = y * r + 1 / 24.f;
  y = y * r + 1 / 6.f;
  y = y * r + 0.5f;
  y = y * r + 1;
  y = y * r + 1;
  uint32_t bits, exponent;
  memcpy(&bits, &y, sizeof bits);
  memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 23;
  memcpy(&y, &bits, sizeof bits);
  y = x < -0x1.5d589ep6f ? 0 : y;
  return x > 0x1.62e42ep6f ? INFINITY : y;
}

// Error at most 0.9 ulp.
SW_OVERLOAD double sw_exp(double x) {
  const double magic = 0x1.8p52;
  double shifted = x * 0x1.71547652b82fep0 + magic, n = shifted - magic;
  double r = x - n * 0x1.62e42fefap-1 - n * 0x1.cf79abc9e3b3ap-40;
  double y = 1 / 6227020800.;
  y = y * r + 1 / 479001600.;
  y = y * r + 1 / 39916800.;
  y = y * r + 1 / 3628800.;
  y = y * r + 1 / 362880.;
  y = y * r + 1 / 40320.;
  y = y * r + 1 / 5040.;
  y = y * r + 1 / 720.;
  y = y * r + 1 / 120.;
  y = y * r + 1 / 24.;
  y = y * r + 1 / 6.;
  y = y * r + 0.5;
  y = y * r + 1;
  y = y * r + 1;
  uint64_t bits, exponent;
  memcpy(&bits, &y, sizeof bits);
  memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 52;
  memcpy(&y, &bits, sizeof bits);
  y = x < -0x1.6232bdd7abcd2p9 ? 0 : y;
  return x > 0x1.62e42fefa39efp9 ? INFINITY : y;
}

SW_OVERLOAD float sw_sigmoid(float x) { return 1 / (1 + sw_exp(-x)); }
SW_OVERLOAD double sw_sigmoid(double x) { return 1 / (1 + sw_exp(-x)); }

// Absolute error 1 ulp of 1.
SW_OVERLOAD float sw_tanh(float x) { return 1 - 2 / (sw_exp(2 * x) + 1); }
SW_OVERLOAD double sw_tanh(double x) { return 1 - 2 / (sw_exp(2 * x) + 1); }

// The normal distribution's cumulative function, given exp(-x^2 / 2). Float: Abramowitz & Stegun 7.1.26,
// absolute error at most 3e-7.
SW_OVERLOAD float sw_normal_cdf(float x, float gauss) {
  float t = 1 / (1 + 0.3275911f * 0.70710678f * __builtin_fabsf(x));
  float y = 1.061405429f;
  y = y * t - 1.453152027f;
  y = y * t + 1.421413741f;
  y = y * t - 0.284496736f;
  y = y * t + 0.254829592f;
  float tail = 0.5f * y * t * gauss;
  return x < 0 ? tail : 1 - tail;
}
SW_OVERLOAD double sw_normal_cdf(double x, double gauss) {
  (void)gauss;
  return 0.5 * erfc(-x * M_SQRT1_2);
}
