// RMS normalisation (Zhang & Sennrich, arXiv:1910.07467, eq. 4) and its gradient: ../rms_norm.c on the
// device.
//
// A block of threads, or a warp for narrow ones, normalises a group of `width` columns. The group's second
// reading finds it in the first-level cache, so memory is read once.
#include "common.cuh"

// Groups are counted over all rows: group g is columns [g % n * width, ...) of row g / n, n = columns /
// width.
struct group {
  int64_t row, column, index;
};

template <int THREADS> DEVICE bool my_group(int64_t groups, int64_t per_row, int64_t width, group &g) {
  g.index = (int64_t)blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS;
  g.row = g.index / per_row;
  g.column = g.index % per_row * width;
  return g.index < groups;
}

// The sum over the threads of a group: a warp, or the whole block.
template <int THREADS> DEVICE float group_sum(float value) {
  return THREADS == 32 ? warp_reduce<sum_of>(value) : block_reduce<sum_of>(value);
}

// h = x + residual; y = h * rstd * weight
template <typename X, typename Y, int V, int THREADS>
DEVICE void rms_norm(matrix x, matrix residual, const float *weight, float epsilon, int64_t width, matrix h,
                     matrix y, float *rstd) {
  let_successor_begin();
  int lane = threadIdx.x % THREADS;
  // In a decoding step the weight is far. It may be what the kernel before wrote: until that ends it only
  // comes nearer.
  const bool is_far = THREADS > 32 && x.rows <= 64;
  if (is_far)
    for (int64_t c = lane * 32; c < width; c += THREADS * 32)
      asm volatile("prefetch.global.L2 [%0];" ::"l"(weight + c));
  wait_for_predecessors();
  group g;
  int64_t per_row = x.columns / width;
  bool inside = my_group<THREADS>(x.rows * per_row, per_row, width, g);
  if (THREADS == 32 && !inside)
    return;
  const X *x_row = row<X>(x, g.row) + g.column;
  const X *h_row = x_row;
  float sum = 0;
  if (residual.data) {
    const X *r_row = row<X>(residual, g.row) + g.column;
    X *h_out = row<X>(h, g.row) + g.column;
    h_row = h_out;
    for (int64_t c = lane * V; c < width; c += THREADS * V) {
      vec<X, V> a = *(const vec<X, V> *)(x_row + c), b = *(const vec<X, V> *)(r_row + c), out;
#pragma unroll
      for (int i = 0; i < V; i++) {
        out.at[i] = from_float<X>(to_float(a.at[i]) + to_float(b.at[i]));
        float value = to_float(out.at[i]);
        sum += value * value;
      }
      *(vec<X, V> *)(h_out + c) = out;
    }
  } else {
    for (int64_t c = lane * V; c < width; c += THREADS * V) {
      vec<X, V> a = *(const vec<X, V> *)(x_row + c);
      if (is_far) // the weight comes beside x, to the L1 cache
        asm volatile("{ .reg .f32 w; ld.global.f32 w, [%0]; }" ::"l"(weight + c));
#pragma unroll
      for (int i = 0; i < V; i++)
        sum += to_float(a.at[i]) * to_float(a.at[i]);
    }
  }
  float scale = rsqrtf(group_sum<THREADS>(sum) / (float)width + epsilon);
  if (lane == 0)
    rstd[g.index] = scale;
  Y *y_row = row<Y>(y, g.row) + g.column;
  for (int64_t c = lane * V; c < width; c += THREADS * V) {
    vec<X, V> a = *(const vec<X, V> *)(h_row + c);
    vec<float, V> w = *(const vec<float, V> *)(weight + c);
    vec<Y, V> out;
#pragma unroll
    for (int i = 0; i < V; i++)
      out.at[i] = from_float<Y>(to_float(a.at[i]) * scale * w.at[i]);
    *(vec<Y, V> *)(y_row + c) = out;
  }
}

// dh = adding + rstd * (w * dy - n * mean(w * dy * n)), n = h * rstd
template <typename DY, typename H, int V, int THREADS>
DEVICE void rms_norm_backward(matrix dy, matrix h, const float *weight, const float *rstd, int64_t width,
                              matrix adding, matrix dh) {
  group g;
  int64_t per_row = h.columns / width;
  bool inside = my_group<THREADS>(h.rows * per_row, per_row, width, g);
  if (THREADS == 32 && !inside)
    return;
  int lane = threadIdx.x % THREADS;
  const DY *dy_row = row<DY>(dy, g.row) + g.column;
  const H *h_row = row<H>(h, g.row) + g.column;
  float scale = rstd[g.index], sum = 0;
  for (int64_t c = lane * V; c < width; c += THREADS * V) {
    vec<DY, V> d = *(const vec<DY, V> *)(dy_row + c);
    vec<H, V> x = *(const vec<H, V> *)(h_row + c);
    vec<float, V> w = *(const vec<float, V> *)(weight + c);
#pragma unroll
    for (int i = 0; i < V; i++)
      sum += w.at[i] * to_float(d.at[i]) * to_float(x.at[i]);
  }
  // mean(w * dy * n) * rstd
  float mean = group_sum<THREADS>(sum) * scale / (float)width * scale;
  const H *add_row = adding.data ? row<H>(adding, g.row) + g.column : nullptr;
  H *out_row = row<H>(dh, g.row) + g.column;
  for (int64_t c = lane * V; c < width; c += THREADS * V) {
    vec<DY, V> d = *(const vec<DY, V> *)(dy_row + c);
    vec<H, V> x = *(const vec<H, V> *)(h_row + c), a = {}, out;
    vec<float, V> w = *(const vec<float, V> *)(weight + c);
    if (add_row)
      a = *(const vec<H, V> *)(add_row + c);
#pragma unroll
    for (int i = 0; i < V; i++) {
      float value = scale * (w.at[i] * to_float(d.at[i]) - to_float(x.at[i]) * mean);
      out.at[i] = from_float<H>(to_float(a.at[i]) + value);
    }
    *(vec<H, V> *)(out_row + c) = out;
  }
}

// d_weight[c] += sum over rows and groups of dy * h * rstd. A block takes 32 columns; its 32 warps share the
// groups.
template <typename DY, typename H>
DEVICE void rms_norm_backward_weight(matrix dy, matrix h, const float *rstd, int64_t width, float *d_weight) {
  __shared__ float partial[32][33];
  int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x % 32;
  int slice = threadIdx.x / 32;
  int64_t per_row = h.columns / width, groups = h.rows * per_row;
  float sum = 0;
  if (c < width)
    for (int64_t g = slice; g < groups; g += 32) {
      int64_t r = g / per_row, column = g % per_row * width + c;
      sum += to_float(row<DY>(dy, r)[column]) * to_float(row<H>(h, r)[column]) * rstd[g];
    }
  partial[slice][threadIdx.x % 32] = sum;
  __syncthreads();
  if (slice != 0 || c >= width)
    return;
  float total = 0;
  for (int i = 0; i < 32; i++)
    total += partial[i][threadIdx.x];
  d_weight[c] += total;
}

#define NORM(NAME, X, Y, V, THREADS)                                                                         \
  KERNEL rms_norm_##NAME(matrix x, matrix residual, const float *weight, float epsilon, int64_t width,       \
                         matrix h, matrix y, float *rstd) {                                                  \
    rms_norm<X, Y, V, THREADS>(x, residual, weight, epsilon, width, h, y, rstd);                             \
  }                                                                                                          \
  KERNEL rms_norm_backward_##NAME(matrix dy, matrix h, const float *weight, const float *rstd,               \
                                  int64_t width, matrix adding, matrix dh) {                                 \
    rms_norm_backward<Y, X, V, THREADS>(dy, h, weight, rstd, width, adding, dh);                             \
  }
#define NORMS(NAME, X, Y)                                                                                    \
  NORM(NAME##_x4_warp, X, Y, 4, 32)                                                                          \
  NORM(NAME##_x4_block, X, Y, 4, 256)                                                                        \
  NORM(NAME##_x1_warp, X, Y, 1, 32)                                                                          \
  NORM(NAME##_x1_block, X, Y, 1, 256)                                                                        \
  KERNEL rms_norm_backward_weight_##NAME(matrix dy, matrix h, const float *rstd, int64_t width,              \
                                         float *d_weight) {                                                  \
    rms_norm_backward_weight<Y, X>(dy, h, rstd, width, d_weight);                                            \
  }

NORMS(f32_f32, float, float)
NORMS(f32_bf16, float, bf16)
NORMS(bf16_bf16, bf16, bf16)
