// Partial sums of squares for a gradient's norm.
#include "include/optimizer.h"
#include "vector_math.h"

SW_KERNEL void sw_sum_squares(const float *x, int64_t count, double *partial, int64_t begin, int64_t end) {
  SW_SUM_IN_LANES
  for (int64_t block = begin; block < end; block++) {
    int64_t first = block * SW_SUM_SQUARES_BLOCK, last = first + SW_SUM_SQUARES_BLOCK;
    last = last < count ? last : count;
    double sum = 0;
    SW_VECTOR
    for (int64_t i = first; i < last; i++)
      sum += (double)x[i] * x[i];
    partial[block] = sum;
  }
}
