// The sum of a matrix's rows.
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "column_sum.c"
#include "each_dtype.h"

SW_KERNEL void sw_column_sum(sw_matrix x, float *sum, int64_t begin, int64_t end) {
  SW_DISPATCH(x.dtype, column_sum, x, sum, begin, end);
}

#else

SW_INLINE void TYPED(column_sum)(sw_matrix x, float *sum, int64_t begin, int64_t end) {
  enum { TILE = 256 };
  for (int64_t first = begin; first < end; first += TILE) {
    int64_t count = end - first < TILE ? end - first : TILE;
    real tile[TILE] = {0};
    for (int64_t row = 0; row < x.rows; row++) {
      const stored *x_row = ROW(x, row) + first;
      SW_VECTOR
      for (int64_t c = 0; c < count; c++)
        tile[c] += sw_load(&x_row[c]);
    }
    for (int64_t c = 0; c < count; c++)
      sum[first + c] += (float)tile[c];
  }
}

#endif
