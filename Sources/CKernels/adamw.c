// AdamW with 32-bit moments.
#include "adamw.h"

SW_KERNEL void sw_adamw(const sw_adamw_step *step, float *p, const float *g, float *m, float *v,
                        int64_t begin, int64_t end) {
  adamw_constants constants = adamw_prepare(step);
  SW_VECTOR
  for (int64_t i = begin; i < end; i++)
    adamw_update(constants, &p[i], g[i], &m[i], &v[i]);
}
