// The AdamW update of one element, shared by the 32-bit and the 8-bit kernel.
#pragma once
#include "include/optimizer.h"
#include "vector_math.h"

// The step's constants as the update uses them. Derived in double, as PyTorch does.
typedef struct {
  float gradient_scale, decay, one_minus_beta1, beta2, one_minus_beta2, correction2_root, epsilon, step_size;
} adamw_constants;

SW_INLINE adamw_constants adamw_prepare(const sw_adamw_step *s) {
  return (adamw_constants){
      .gradient_scale = (float)s->gradient_scale,
      .decay = (float)(1 - s->learning_rate * s->weight_decay),
      .one_minus_beta1 = (float)(1 - s->beta1),
      .beta2 = (float)s->beta2,
      .one_minus_beta2 = (float)(1 - s->beta2),
      .correction2_root = (float)sqrt(s->bias_correction2),
      .epsilon = (float)s->epsilon,
      .step_size = (float)(s->learning_rate / s->bias_correction1),
  };
}

// Loshchilov & Hutter, arXiv:1711.05101, algorithm 2, in the order of torch.optim.AdamW:
//   p = p (1 - lr wd);  m = m + (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2
//   p = p - (lr / (1 - beta1^t) * m) / (sqrt(v) / sqrt(1 - beta2^t) + eps)
SW_INLINE void adamw_update(adamw_constants k, float *p, float g, float *m, float *v) {
  g *= k.gradient_scale;
  *m += k.one_minus_beta1 * (g - *m);
  *v = *v * k.beta2 + k.one_minus_beta2 * g * g;
  *p *= k.decay;
  *p -= k.step_size * *m / (sw_sqrt(*v) / k.correction2_root + k.epsilon);
}
