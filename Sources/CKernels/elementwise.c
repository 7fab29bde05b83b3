// Sums, multiples and copies of matrices.
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "elementwise.c"
#include "each_dtype.h"

SW_KERNEL void sw_add(sw_matrix a, sw_matrix b, sw_matrix y, int64_t begin, int64_t end) {
  SW_DISPATCH(a.dtype, add, a, b, y, begin, end);
}

SW_KERNEL void sw_scale(sw_matrix x, double alpha, sw_matrix y, int64_t begin, int64_t end) {
  SW_DISPATCH(x.dtype, scale, x, alpha, y, begin, end);
}

SW_KERNEL void sw_copy(sw_matrix x, sw_matrix y, int64_t begin, int64_t end) {
  SW_DISPATCH(x.dtype, copy, x, y, begin, end);
}

#else

SW_INLINE void TYPED(add)(sw_matrix a, sw_matrix b, sw_matrix y, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *a_row = ROW(a, row), *b_row = ROW(b, row);
    stored *y_row = ROW(y, row);
    SW_VECTOR
    for (int64_t c = 0; c < a.columns; c++)
      sw_store(&y_row[c], sw_load(&a_row[c]) + sw_load(&b_row[c]));
  }
}

SW_INLINE void TYPED(scale)(sw_matrix x, double alpha, sw_matrix y, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row++) {
    const stored *x_row = ROW(x, row);
    stored *y_row = ROW(y, row);
    SW_VECTOR
    for (int64_t c = 0; c < x.columns; c++)
      sw_store(&y_row[c], (real)alpha * sw_load(&x_row[c]));
  }
}

// Copies rows to rows of another type.
#define COPY_ROWS(type)                                                                                      \
  for (int64_t row = begin; row < end; row++) {                                                              \
    const stored *x_row = ROW(x, row);                                                                       \
    type *y_row = (type *)y.data + row * y.stride;                                                           \
    SW_VECTOR                                                                                                \
    for (int64_t c = 0; c < x.columns; c++)                                                                  \
      sw_store(&y_row[c], sw_load(&x_row[c]));                                                               \
  }

SW_INLINE void TYPED(copy)(sw_matrix x, sw_matrix y, int64_t begin, int64_t end) {
  switch (y.dtype) {
  case SW_F32:
    COPY_ROWS(float) break;
  case SW_BF16:
    COPY_ROWS(sw_bf16) break;
  case SW_F64:
    COPY_ROWS(double) break;
  }
}

#undef COPY_ROWS
#endif
