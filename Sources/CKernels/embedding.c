// The embedding's gradient. (Its forward is a decoding of weight rows: weights.h.)
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "embedding.c"
#include "each_dtype.h"

SW_KERNEL void sw_embedding_backward(sw_matrix dy, const int32_t *ids, float *d_weight, int64_t begin,
                                     int64_t end) {
  SW_DISPATCH(dy.dtype, embedding_backward, dy, ids, d_weight, begin, end);
}

#else

SW_INLINE void TYPED(embedding_backward)(sw_matrix dy, const int32_t *ids, float *d_weight, int64_t begin,
                                         int64_t end) {
  for (int64_t row = 0; row < dy.rows; row++) {
    if (ids[row] < 0)
      continue;
    const stored *dy_row = ROW(dy, row);
    float *d_weight_row = d_weight + ids[row] * dy.columns;
    SW_VECTOR
    for (int64_t c = begin; c < end; c++)
      d_weight_row[c] += (float)sw_load(&dy_row[c]);
  }
}

#endif
