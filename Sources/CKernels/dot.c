#include "include/dot.h"
#include "dot_avx512.h"
#include "gemm_pack.h"
#include <string.h>

typedef float lanes __attribute__((ext_vector_type(16), aligned(4)));
typedef float float8 __attribute__((ext_vector_type(8)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef float float2 __attribute__((ext_vector_type(2)));

SW_INLINE float sum_by_halves(const lanes *v) {
  const float8 eight = v->lo + v->hi;
  const float4 four = eight.lo + eight.hi;
  const float2 two = four.lo + four.hi;
  return two.x + two.y;
}

// One row of the weight, decoded, by M rows of x.
#define DOTS_OF_ROWS(M)                                                                                      \
  for (int64_t k = 0; k < count; k += SW_DOT_STEP) {                                                         \
    const lanes low = *(const lanes *)(w + k), high = *(const lanes *)(w + k + 16);                          \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < (M); i++) {                                       \
      sum[i] += low * *(const lanes *)(x + i * stride + k);                                                  \
      second[i] += high * *(const lanes *)(x + i * stride + k + 16);                                         \
    }                                                                                                        \
  }                                                                                                          \
  _Pragma("clang loop unroll(full)") for (int i = 0; i < (M); i++) {                                         \
    sum[i] += second[i];                                                                                     \
    sums[i * sums_stride] += scale * sum_by_halves(&sum[i]);                                                 \
  }

SW_KERNEL static void dots_of_decoded(const float *w, int64_t count, float scale, const float *x,
                                      int64_t stride, int m, float *sums, int64_t sums_stride) {
  lanes sum[SW_DOT_ROWS] = {0}, second[SW_DOT_ROWS] = {0};
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
    DOTS_OF_ROWS(SW_DOT_ROWS)
  }
}

static void dots(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
                 int64_t stride, int m, float *sums, int64_t sums_stride, float *decoded) {
  if (sw_dots_avx512(weight, first, count, scale, x, stride, m, sums, sums_stride))
    return;
  const int64_t columns = weight->columns, padded = sw_dot_padded(columns);
  for (int64_t j = 0; j < count; j++) {
    sw_weight_decode(weight, first + j, 0, columns, decoded);
    memset(decoded + columns, 0, (size_t)(padded - columns) * sizeof(float));
    dots_of_decoded(decoded, padded, scale, x, stride, m, sums + j, sums_stride);
  }
}

void sw_dots(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
             int64_t stride, int64_t m, float *sums, int64_t sums_stride, float *decoded) {
  for (int64_t i = 0; i < m; i += SW_DOT_ROWS)
    dots(weight, first, count, scale, x + i * stride, stride,
         (int)(m - i < SW_DOT_ROWS ? m - i : SW_DOT_ROWS), sums + i * sums_stride, sums_stride, decoded);
}

void sw_dot_row(sw_dtype dtype, const void *x, int64_t count, float *out) {
  sw_widen(dtype, x, count, out);
  memset(out + count, 0, (size_t)(sw_dot_padded(count) - count) * sizeof(float));
}
