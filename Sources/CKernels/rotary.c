// Rotary position embedding (Su et al., RoFormer, arXiv:2104.09864, eq. 34), pairs (i, i + rotary / 2).
#include "include/ops.h"
#ifndef SW_BODY
#define SW_TEMPLATE "rotary.c"
#include "each_dtype.h"

SW_KERNEL void sw_rotary(sw_matrix x, const int32_t *positions, const float *cosine, const float *sine,
                         int64_t head_size, int64_t rotary, sw_rotation rotation, sw_matrix y, int64_t begin,
                         int64_t end) {
  SW_DISPATCH(x.dtype, rotary, x, positions, cosine, sine, head_size, rotary, rotation, y, begin, end);
}

#else

// y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin
SW_INLINE void TYPED(rotate_head)(const stored *x, const float *cosine, const float *sine, int64_t half,
                                  real sign, stored *y) {
  SW_VECTOR
  for (int64_t i = 0; i < half; i++) {
    real x1 = sw_load(&x[i]), x2 = sw_load(&x[i + half]), sinus = sign * sine[i];
    sw_store(&y[i], x1 * cosine[i] - x2 * sinus);
    sw_store(&y[i + half], x2 * cosine[i] + x1 * sinus);
  }
}

SW_INLINE void TYPED(rotary)(sw_matrix x, const int32_t *positions, const float *cosine, const float *sine,
                             int64_t head_size, int64_t rotary, sw_rotation rotation, sw_matrix y,
                             int64_t begin, int64_t end) {
  int64_t half = rotary / 2;
  for (int64_t row = begin; row < end; row++) {
    const float *row_cosine = cosine + positions[row] * half, *row_sine = sine + positions[row] * half;
    for (int64_t first = 0; first < x.columns; first += head_size) {
      const stored *head = ROW(x, row) + first;
      stored *out = ROW(y, row) + first;
      TYPED(rotate_head)(head, row_cosine, row_sine, half, (real)rotation, out);
      if (out != head)
        memcpy(out + rotary, head + rotary, (size_t)(head_size - rotary) * sizeof(stored));
    }
  }
}

#endif
