#include "include/dot.h"
#include "dot_avx512.h"
#include "gemm_pack.h"
#include <string.h>

typedef float lanes __attribute__((ext_vector_type(16), aligned(4)));

// Rows of x that share a pass over a decoded row of the weight.
enum { ROWS = 4 };

// One row of the weight, decoded, by M rows of x.
#define DOTS_OF_ROWS(M)                                                                                      \
  for (int64_t k = 0; k < count; k += SW_DOT_STEP) {                                                         \
    const lanes low = *(const lanes *)(w + k), high = *(const lanes *)(w + k + 16);                          \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < (M); i++) {                                       \
      first[i] += low * *(const lanes *)(x + i * stride + k);                                                \
      second[i] += high * *(const lanes *)(x + i * stride + k + 16);                                         \
    }                                                                                                        \
  }                                                                                                          \
  for (int i = 0; i < (M); i++)                                                                              \
    *(lanes *)(out + 16 * i) = first[i] + second[i];

// out: 16 lanes of each row's sum.
SW_KERNEL static void dots_of_decoded(const float *w, int64_t count, const float *x, int64_t stride, int m,
                                      float *out) {
  lanes first[ROWS] = {0}, second[ROWS] = {0};
  switch (m) {
  case 1:
    DOTS_OF_ROWS(1)
    break;
  case 2:
    DOTS_OF_ROWS(2)
    break;
  case 3:
    DOTS_OF_ROWS(3)
    break;
  default:
    DOTS_OF_ROWS(ROWS)
  }
}

SW_INLINE float sum_by_halves(float *lanes) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++)
      lanes[i] += lanes[i + half];
  return lanes[0];
}

void sw_dots(const sw_weight *weight, int64_t row, float scale, const float *x, int64_t stride, int64_t m,
             float *sums, int64_t sums_stride, float *decoded) {
  float out[ROWS * 16];
  if (m == 1 && sw_dot_avx512(weight, row, x, out)) {
    *sums += scale * sum_by_halves(out);
    return;
  }
  const int64_t count = weight->columns, padded = sw_dot_padded(count);
  sw_weight_decode(weight, row, 0, count, decoded);
  memset(decoded + count, 0, (size_t)(padded - count) * sizeof(float));
  for (int64_t i = 0; i < m; i += ROWS) {
    const int taken = (int)(m - i < ROWS ? m - i : ROWS);
    dots_of_decoded(decoded, padded, x + i * stride, stride, taken, out);
    for (int j = 0; j < taken; j++)
      sums[(i + j) * sums_stride] += scale * sum_by_halves(out + 16 * j);
  }
}

void sw_dot_row(sw_dtype dtype, const void *x, int64_t count, float *out) {
  sw_widen(dtype, x, count, out);
  memset(out + count, 0, (size_t)(sw_dot_padded(count) - count) * sizeof(float));
}
