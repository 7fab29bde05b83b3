// The greatest element of a row.
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "argmax.c"
#include "each_dtype.h"

SW_KERNEL void sw_argmax(sw_matrix x, int32_t *index, int64_t begin, int64_t end) {
  SW_DISPATCH(x.dtype, argmax, x, index, begin, end);
}

#else

SW_INLINE void TYPED(argmax)(sw_matrix x, int32_t *index, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *values = ROW(x, row);
    real greatest = -INFINITY;
    SW_VECTOR
    for (int64_t c = 0; c < x.columns; c++)
      greatest = sw_max(greatest, sw_load(&values[c]));
    int32_t c = 0;
    while (c < x.columns - 1 && sw_load(&values[c]) != greatest)
      c++;
    index[row] = c;
  }
}

#endif
