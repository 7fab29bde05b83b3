// Random numbers for initial weights.
#include "include/random.h"
#include "philox.h"
#include <math.h>

void sw_philox4x32(uint64_t seed, const uint32_t counter[4], uint32_t out[4]) {
  philox4x32(seed, counter, out);
}

enum { WORDS = 256 };

// [0, 1) from a word's upper 24 bits.
SW_INLINE float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

SW_KERNEL void sw_fill_uniform(float *out, int64_t count, uint64_t seed, uint64_t stream, float low,
                               float high) {
  for (int64_t first = 0; first < count; first += WORDS) {
    uint32_t words[WORDS];
    philox_words(seed, stream, (uint64_t)first / 4, WORDS / 4, words);
    for (int64_t i = 0; i < WORDS && first + i < count; i++)
      out[first + i] = low + (high - low) * unit(words[i]);
  }
}

// radius = sqrt(-2 ln(1 - u1)), angle = 2 pi u2 (Box & Muller 1958)
SW_KERNEL void sw_fill_normal(float *out, int64_t count, uint64_t seed, uint64_t stream, float mean,
                              float deviation) {
  for (int64_t first = 0; first < count; first += WORDS) {
    uint32_t words[WORDS];
    philox_words(seed, stream, (uint64_t)first / 4, WORDS / 4, words);
    for (int64_t i = 0; i < WORDS && first + i < count; i++) {
      float radius = sqrtf(-2 * logf(1 - unit(words[i & ~1]))), angle = 2 * (float)M_PI * unit(words[i | 1]);
      out[first + i] = mean + deviation * radius * (i & 1 ? sinf(angle) : cosf(angle));
    }
  }
}
