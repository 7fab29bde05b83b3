// AdamW with moments in 8-bit codes (Dettmers et al., arXiv:2110.02861, section 2).
#include "adamw.h"
#include <float.h>

enum { BLOCK = SW_ADAMW_8BIT_BLOCK, CODES = 256, KEY_BITS = 15 };

// Finds a number's nearest code. A search by halving would take eight dependent loads; a number's leading
// bits name the code or the one before it at once.
typedef struct {
  float boundary[CODES];        // the greatest number whose nearest code is this one
  uint8_t start[1 << KEY_BITS]; // the code of the least number with these leading bits
} encoder;

// The leading bits of a float, in the numbers' order.
SW_INLINE uint32_t leading_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t ordered = bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
  return ordered >> (32 - KEY_BITS);
}

static void encoder_prepare(encoder *e, const float *map, float least_boundary) {
  for (int code = 0; code < CODES - 1; code++)
    e->boundary[code] = 0.5f * (map[code] + map[code + 1]);
  e->boundary[0] = fminf(e->boundary[0], least_boundary);
  e->boundary[CODES - 1] = INFINITY;
  size_t key = 0;
  for (int code = 0; code < CODES; code++) {
    size_t next = code == CODES - 1 ? 1 << KEY_BITS : leading_bits(e->boundary[code]) + 1;
    if (next > key) {
      memset(e->start + key, code, next - key);
      key = next;
    }
  }
}

// Writes codes[i] and returns absmax, values[i] being about map[codes[i]] * absmax.
SW_INLINE float encode(const encoder *e, const float *values, int64_t count, uint8_t *codes) {
  float absmax = 0;
  SW_VECTOR
  for (int64_t i = 0; i < count; i++)
    absmax = sw_max(absmax, fabsf(values[i]));
  float scale = absmax >= FLT_MIN ? 1 / absmax : 0;
  float scaled[BLOCK];
  uint16_t key[BLOCK];
  SW_VECTOR
  for (int64_t i = 0; i < count; i++) {
    scaled[i] = values[i] * scale;
    key[i] = (uint16_t)leading_bits(scaled[i]);
  }
#pragma clang loop vectorize(disable) // gathered loads are slower
  for (int64_t i = 0; i < count; i++) {
    int code = e->start[key[i]];
    code += scaled[i] > e->boundary[code]; // as a rule enough, and without a branch
    while (scaled[i] > e->boundary[code])
      code++;
    codes[i] = (uint8_t)code;
  }
  return absmax;
}

SW_INLINE void decode(const uint8_t *codes, const float *map, float absmax, int64_t count, float *out) {
#pragma clang loop vectorize(disable) // gathered loads are slower
  for (int64_t i = 0; i < count; i++)
    out[i] = map[codes[i]] * absmax;
}

SW_KERNEL void sw_adamw_8bit(const sw_adamw_step *step, float *p, const float *g, sw_adamw_8bit_state state,
                             int64_t count, int64_t begin, int64_t end) {
  adamw_constants constants = adamw_prepare(step);
  encoder m_encoder, v_encoder;
  encoder_prepare(&m_encoder, state.m_map, INFINITY);
  // A second moment that is not 0 is never rounded to 0: its first moment would be divided by epsilon alone.
  encoder_prepare(&v_encoder, state.v_map, 0);
  for (int64_t block = begin; block < end; block++) {
    int64_t first = block * BLOCK, length = count - first < BLOCK ? count - first : BLOCK;
    float m[BLOCK], v[BLOCK];
    decode(state.m + first, state.m_map, state.m_absmax[block], length, m);
    decode(state.v + first, state.v_map, state.v_absmax[block], length, v);
    SW_VECTOR
    for (int64_t i = 0; i < length; i++)
      adamw_update(constants, &p[first + i], g[first + i], &m[i], &v[i]);
    state.m_absmax[block] = encode(&m_encoder, m, length, state.m + first);
    state.v_absmax[block] = encode(&v_encoder, v, length, state.v + first);
  }
}
