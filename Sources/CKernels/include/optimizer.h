// Parameter updates. Parameters and gradients are float.
#pragma once
#include "kernel.h"

// MARK: Gradient norm (sum_squares.c)

enum : int64_t { SW_SUM_SQUARES_BLOCK = 4096 };

// partial[b] = sum of x[i]^2 over block b of SW_SUM_SQUARES_BLOCK elements (the last may be shorter), for
// blocks [begin, end). Adding the partial sums in order gives the same bits for any split.
void sw_sum_squares(const float *x, int64_t count, double *partial, int64_t begin, int64_t end);

// MARK: AdamW (adamw.c, adamw_8bit.c)

// One step's constants: Loshchilov & Hutter, arXiv:1711.05101, names as in torch.optim.AdamW.
typedef struct {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  // 1 - beta1^t and 1 - beta2^t at step t = 1, 2, ...
  double bias_correction1, bias_correction2;
  // Multiplies every gradient first: clipping, loss scale.
  double gradient_scale;
} sw_adamw_step;

// Updates parameters p and moments m, v from gradients g, elements [begin, end).
void sw_adamw(const sw_adamw_step *step, float *p, const float *g, float *m, float *v, int64_t begin,
              int64_t end);

enum : int64_t { SW_ADAMW_8BIT_BLOCK = 256 };

// Moments as 8-bit codes with one scale per block of SW_ADAMW_8BIT_BLOCK elements (Dettmers et al.,
// arXiv:2110.02861): moment[i] = map[code[i]] * absmax[i / 256].
typedef struct {
  uint8_t *m, *v;             // [count]
  float *m_absmax, *v_absmax; // [count / 256, rounded up]
  // [256], ascending. Signed within [-1, 1] for m, unsigned within [0, 1] for v.
  const float *m_map, *v_map;
} sw_adamw_8bit_state;

// Updates blocks [begin, end) of `count` elements. The parameters are updated from the moments before these
// are rounded to codes.
void sw_adamw_8bit(const sw_adamw_step *step, float *p, const float *g, sw_adamw_8bit_state state,
                   int64_t count, int64_t begin, int64_t end);
