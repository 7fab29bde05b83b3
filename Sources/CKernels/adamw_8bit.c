// AdamW with moments in 8-bit codes (Dettmers et al., arXiv:2110.02861, section 2).
#include "adamw.h"

enum { BLOCK = SW_ADAMW_8BIT_BLOCK, CODES = 256 };

// boundary[i]: the greatest number whose nearest code is i.
static void code_boundaries(const float *map, float *boundary) {
  for (int i = 0; i < CODES - 1; i++)
    boundary[i] = 0.5f * (map[i] + map[i + 1]);
}

SW_INLINE void decode(const uint8_t *codes, const float *map, float absmax, int64_t count, float *out) {
  SW_VECTOR
  for (int64_t i = 0; i < count; i++)
    out[i] = map[codes[i]] * absmax;
}

// Each code is the number of boundaries below the scaled value, found in eight halvings.
SW_INLINE float encode(const float *values, const float *boundary, int64_t count, uint8_t *codes) {
  float absmax = 0;
  SW_VECTOR
  for (int64_t i = 0; i < count; i++)
    absmax = sw_max(absmax, fabsf(values[i]));
  float scale = absmax > 0 ? 1 / absmax : 0;
  SW_VECTOR
  for (int64_t i = 0; i < count; i++) {
    float scaled = values[i] * scale;
    int32_t code = 0;
#pragma clang loop unroll(full)
    for (int32_t step = CODES / 2; step > 0; step /= 2)
      code += scaled > boundary[code + step - 1] ? step : 0;
    codes[i] = (uint8_t)code;
  }
  return absmax;
}

SW_KERNEL void sw_adamw_8bit(const sw_adamw_step *step, float *p, const float *g, sw_adamw_8bit_state state,
                             int64_t count, int64_t begin, int64_t end) {
  adamw_constants constants = adamw_prepare(step);
  float mBoundary[CODES - 1], vBoundary[CODES - 1];
  code_boundaries(state.m_map, mBoundary);
  code_boundaries(state.v_map, vBoundary);
  // A second moment that is not zero is never rounded to it: its first moment would be divided by epsilon
  // alone.
  vBoundary[0] = 0;
  for (int64_t block = begin; block < end; block++) {
    int64_t first = block * BLOCK, length = count - first < BLOCK ? count - first : BLOCK;
    float m[BLOCK], v[BLOCK];
    decode(state.m + first, state.m_map, state.m_absmax[block], length, m);
    decode(state.v + first, state.v_map, state.v_absmax[block], length, v);
    SW_VECTOR
    for (int64_t i = 0; i < length; i++)
      adamw_update(constants, &p[first + i], g[first + i], &m[i], &v[i]);
    state.m_absmax[block] = encode(m, mBoundary, length, state.m + first);
    state.v_absmax[block] = encode(v, vBoundary, length, state.v + first);
  }
}
