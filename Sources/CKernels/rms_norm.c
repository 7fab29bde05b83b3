// Root mean square layer normalisation (Zhang & Sennrich, arXiv:1910.07467, eq. 4), with the residual
// addition before it.
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "rms_norm.c"
#define SW_MIXED
#include "each_dtype.h"

SW_KERNEL void sw_rms_norm(sw_matrix x, sw_matrix residual, const float *weight, double epsilon,
                           int64_t width, sw_matrix h, sw_matrix y, void *rstd, int64_t begin, int64_t end) {
  SW_DISPATCH_MIXED(x.dtype, y.dtype, rms_norm, x, residual, weight, epsilon, width, h, y, rstd, begin, end);
}

SW_KERNEL void sw_rms_norm_backward(sw_matrix dy, sw_matrix h, const float *weight, const void *rstd,
                                    int64_t width, sw_matrix adding, sw_matrix dh, int64_t begin,
                                    int64_t end) {
  SW_DISPATCH_MIXED(h.dtype, dy.dtype, rms_norm_backward, dy, h, weight, rstd, width, adding, dh, begin, end);
}

SW_KERNEL void sw_rms_norm_backward_weight(sw_matrix dy, sw_matrix h, const void *rstd, int64_t width,
                                           float *d_weight, int64_t begin, int64_t end) {
  SW_DISPATCH_MIXED(h.dtype, dy.dtype, rms_norm_backward_weight, dy, h, rstd, width, d_weight, begin, end);
}

#else

// h = x + r, returns sum h^2
SW_INLINE real TYPED(add_residual)(const stored *x, const stored *residual, stored *h, int64_t width) {
  SW_SUM_IN_LANES
  real sum = 0;
  SW_VECTOR
  for (int64_t c = 0; c < width; c++) {
    sw_store(&h[c], sw_load(&x[c]) + sw_load(&residual[c]));
    real rounded = sw_load(&h[c]);
    sum += rounded * rounded;
  }
  return sum;
}

SW_INLINE real TYPED(sum_squares)(const stored *h, int64_t width) {
  SW_SUM_IN_LANES
  real sum = 0;
  SW_VECTOR
  for (int64_t c = 0; c < width; c++)
    sum += sw_load(&h[c]) * sw_load(&h[c]);
  return sum;
}

SW_INLINE void TYPED(rms_norm)(sw_matrix x, sw_matrix residual, const float *weight, double epsilon,
                               int64_t width, sw_matrix h, sw_matrix y, real *rstd, int64_t begin,
                               int64_t end) {
  if (!residual.data)
    h = x;
  int64_t groups = x.columns / width;
  for (int64_t i = begin * groups; i < end * groups; i++) {
    int64_t row = i / groups, first = i % groups * width;
    const stored *h_row = ROW(h, row) + first;
    narrow *y_row = NARROW_ROW(y, row) + first;
    real sum = residual.data ? TYPED(add_residual)(ROW(x, row) + first, ROW(residual, row) + first,
                                                   ROW(h, row) + first, width)
                             : TYPED(sum_squares)(h_row, width);
    real scale = 1 / sw_sqrt(sum / (real)width + (real)epsilon);
    rstd[i] = scale;
    SW_VECTOR
    for (int64_t c = 0; c < width; c++)
      sw_store(&y_row[c], sw_load(&h_row[c]) * scale * weight[c]);
  }
}

// sum of weight * dy * h
SW_INLINE real TYPED(weighted_dot)(const narrow *dy, const stored *h, const float *weight, int64_t width) {
  SW_SUM_IN_LANES
  real sum = 0;
  SW_VECTOR
  for (int64_t c = 0; c < width; c++)
    sum += weight[c] * sw_load(&dy[c]) * sw_load(&h[c]);
  return sum;
}

SW_INLINE void TYPED(input_gradient)(const narrow *dy, const stored *h, const float *weight, real rstd,
                                     const stored *adding, stored *dh, int64_t width) {
  real along = rstd * rstd * TYPED(weighted_dot)(dy, h, weight, width) / (real)width;
  SW_VECTOR
  for (int64_t c = 0; c < width; c++) {
    real gradient = rstd * (weight[c] * sw_load(&dy[c]) - along * sw_load(&h[c]));
    sw_store(&dh[c], adding ? sw_load(&adding[c]) + gradient : gradient);
  }
}

// dh = rstd * (weight * dy - h * rstd^2 * mean(weight * dy * h))
SW_INLINE void TYPED(rms_norm_backward)(sw_matrix dy, sw_matrix h, const float *weight, const real *rstd,
                                        int64_t width, sw_matrix adding, sw_matrix dh, int64_t begin,
                                        int64_t end) {
  int64_t groups = h.columns / width;
  for (int64_t i = begin * groups; i < end * groups; i++) {
    int64_t row = i / groups, first = i % groups * width;
    if (adding.data)
      TYPED(input_gradient)(NARROW_ROW(dy, row) + first, ROW(h, row) + first, weight, rstd[i],
                            ROW(adding, row) + first, ROW(dh, row) + first, width);
    else
      TYPED(input_gradient)(NARROW_ROW(dy, row) + first, ROW(h, row) + first, weight, rstd[i], NULL,
                            ROW(dh, row) + first, width);
  }
}

SW_INLINE void TYPED(rms_norm_backward_weight)(sw_matrix dy, sw_matrix h, const real *rstd, int64_t width,
                                               float *d_weight, int64_t begin, int64_t end) {
  enum { TILE = 256 };
  int64_t groups = h.columns / width;
  for (int64_t first = begin; first < end; first += TILE) {
    int64_t count = end - first < TILE ? end - first : TILE;
    real sum[TILE] = {0};
    for (int64_t i = 0; i < h.rows * groups; i++) {
      int64_t column = i % groups * width + first;
      const narrow *dy_row = NARROW_ROW(dy, i / groups) + column;
      const stored *h_row = ROW(h, i / groups) + column;
      SW_VECTOR
      for (int64_t c = 0; c < count; c++)
        sum[c] += sw_load(&dy_row[c]) * sw_load(&h_row[c]) * rstd[i];
    }
    for (int64_t c = 0; c < count; c++)
      d_weight[first + c] += (float)sum[c];
  }
}

#endif
