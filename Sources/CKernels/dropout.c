// Dropout (Srivastava et al. 2014), its mask made anew wherever it is needed.
#include "include/ops.h"
#ifndef SW_BODY
#include "philox.h"
#define SW_TEMPLATE "dropout.c"
#include "each_dtype.h"

SW_KERNEL void sw_dropout(sw_matrix x, double probability, uint64_t seed, uint64_t stream, int64_t first_row,
                          sw_matrix y, int64_t begin, int64_t end) {
  SW_DISPATCH(x.dtype, dropout, x, probability, seed, stream, first_row, y, begin, end);
}

#else

// Element (row, c) is kept where word c % 4 of counter {c / 4, first_row + row, stream} is at least
// probability * 2^32.
SW_INLINE void TYPED(dropout)(sw_matrix x, double probability, uint64_t seed, uint64_t stream,
                              int64_t first_row, sw_matrix y, int64_t begin, int64_t end) {
  enum { WORDS = 256 };
  uint32_t threshold = (uint32_t)(probability * 0x1p32);
  real scale = (real)(1 / (1 - probability));
  for (int64_t row = begin; row < end; row++) {
    uint64_t counter = (uint64_t)(first_row + row) << 32;
    for (int64_t first = 0; first < x.columns; first += WORDS) {
      uint32_t words[WORDS];
      philox_words(seed, stream, counter + (uint64_t)first / 4, WORDS / 4, words);
      int64_t count = x.columns - first < WORDS ? x.columns - first : WORDS;
      const stored *x_tile = ROW(x, row) + first;
      stored *y_tile = ROW(y, row) + first;
      SW_VECTOR
      for (int64_t c = 0; c < count; c++)
        sw_store(&y_tile[c], words[c] >= threshold ? sw_load(&x_tile[c]) * scale : 0);
    }
  }
}

#endif
