// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3).
#pragma once
#include "vector_math.h"

SW_INLINE void philox4x32(uint64_t seed, const uint32_t counter[4], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma clang loop unroll(full)
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// The words of `blocks` consecutive counters, whose low halves count up from `first`.
SW_INLINE void philox_words(uint64_t seed, uint64_t stream, uint64_t first, int64_t blocks, uint32_t *out) {
  SW_VECTOR
  for (int64_t i = 0; i < blocks; i++) {
    uint64_t position = first + (uint64_t)i;
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)stream,
                           (uint32_t)(stream >> 32)};
    philox4x32(seed, counter, out + 4 * i);
  }
}
