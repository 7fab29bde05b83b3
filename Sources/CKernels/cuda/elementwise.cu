// Element-wise operations.
#include "common.cuh"

// y = a + b, n elements each.
KERNEL add_f32(const float *a, const float *b, float *y, int64_t n) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    y[i] = a[i] + b[i];
}
