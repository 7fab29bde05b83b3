// The gradient's norm and AdamW: ../sum_squares.c, ../adamw.c and ../adamw_8bit.c on the device.
#include "common.cuh"

enum { THREADS = 256, SUM_BLOCKS = 1024 };

// The sum of doubles over a block of THREADS threads, in one order; in thread 0.
DEVICE double block_sum(double value) {
  __shared__ double partial[THREADS];
  partial[threadIdx.x] = value;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half)
      partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  return partial[0];
}

// partial[b] = the squares of every SUM_BLOCKS-th stretch of THREADS elements, from stretch b on
KERNEL sum_squares_partial(const float *x, int64_t count, double *partial) {
  double sum = 0;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)SUM_BLOCKS * THREADS)
    sum += (double)x[i] * x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    partial[blockIdx.x] = sum;
}

KERNEL sum_squares_total(const double *partial, double *sum) {
  double value = 0;
  for (int i = threadIdx.x; i < SUM_BLOCKS; i += THREADS)
    value += partial[i];
  value = block_sum(value);
  if (threadIdx.x == 0)
    *sum = value;
}

// What does not change from update to update.
struct adamw {
  double beta1, beta2, epsilon, weight_decay;
  double maximum_norm; // 0 for none
};

// The constants of an update as it uses them, derived in double: see ../adamw.h. `numbers`: learning rate,
// 1 - beta1^t, 1 - beta2^t, sum of squares of the gradients.
struct constants {
  float gradient_scale, decay, one_minus_beta1, beta2, one_minus_beta2, correction2_root, epsilon, step_size;
};

DEVICE constants prepare(const adamw &a, const double *numbers) {
  double scale = 1;
  if (a.maximum_norm > 0) {
    scale = a.maximum_norm / (sqrt(numbers[3]) + 1e-6);
    scale = scale < 1 ? scale : 1; // NaN stays
  }
  constants k;
  k.gradient_scale = (float)scale;
  k.decay = (float)(1 - numbers[0] * a.weight_decay);
  k.one_minus_beta1 = (float)(1 - a.beta1);
  k.beta2 = (float)a.beta2;
  k.one_minus_beta2 = (float)(1 - a.beta2);
  k.correction2_root = (float)sqrt(numbers[2]);
  k.epsilon = (float)a.epsilon;
  k.step_size = (float)(numbers[0] / numbers[1]);
  return k;
}

// Loshchilov & Hutter, arXiv:1711.05101, algorithm 2, in the order of torch.optim.AdamW.
DEVICE void update(const constants &k, float &p, float g, float &m, float &v) {
  g *= k.gradient_scale;
  m += k.one_minus_beta1 * (g - m);
  v = v * k.beta2 + k.one_minus_beta2 * g * g;
  p *= k.decay;
  p -= k.step_size * m / (sqrtf(v) / k.correction2_root + k.epsilon);
}

KERNEL adamw_f32(adamw a, const double *numbers, float *p, const float *g, float *m, float *v,
                 int64_t count) {
  __shared__ constants k;
  if (threadIdx.x == 0)
    k = prepare(a, numbers);
  __syncthreads();
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count;
       i += (int64_t)gridDim.x * blockDim.x)
    update(k, p[i], g[i], m[i], v[i]);
}

// MARK: 8-bit moments (Dettmers et al., arXiv:2110.02861, section 2)

// The code whose value is nearest to `value`, which is at most 1 in magnitude: values between two codes go to
// the lower up to their middle. The least boundary of second moments is 0: one that is not 0 is never rounded
// to 0.
DEVICE uint8_t encode(const float *map, float value, bool keeps_positive) {
  int low = 0, high = 255; // the first code whose boundary is not below the value
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int middle = (low + high) / 2;
    float boundary = 0.5f * (map[middle] + map[middle + 1 < 256 ? middle + 1 : 255]);
    if (keeps_positive && middle == 0)
      boundary = fminf(boundary, 0.0f);
    if (value > boundary)
      low = middle + 1;
    else
      high = middle;
  }
  return (uint8_t)low;
}

DEVICE float inverse(float absmax) { return absmax >= 1.17549435e-38f ? 1 / absmax : 0; }

// A block of threads takes a block of 256 elements.
KERNEL adamw_8bit(adamw a, const double *numbers, float *p, const float *g, uint8_t *m_codes,
                  uint8_t *v_codes, float *m_absmax, float *v_absmax, const float *m_map, const float *v_map,
                  int64_t count) {
  __shared__ constants k;
  __shared__ float maps[2][256];
  if (threadIdx.x == 0)
    k = prepare(a, numbers);
  maps[0][threadIdx.x] = m_map[threadIdx.x];
  maps[1][threadIdx.x] = v_map[threadIdx.x];
  __syncthreads();
  int64_t blocks = (count + THREADS - 1) / THREADS;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    int64_t i = block * THREADS + threadIdx.x;
    bool inside = i < count;
    float m = 0, v = 0;
    if (inside) {
      m = maps[0][m_codes[i]] * m_absmax[block];
      v = maps[1][v_codes[i]] * v_absmax[block];
      update(k, p[i], g[i], m, v);
    }
    float m_greatest = block_reduce<max_of>(inside ? fabsf(m) : 0),
          v_greatest = block_reduce<max_of>(inside ? fabsf(v) : 0);
    if (inside) {
      m_codes[i] = encode(maps[0], m * inverse(m_greatest), false);
      v_codes[i] = encode(maps[1], v * inverse(v_greatest), true);
    }
    __syncthreads(); // the scales have been read
    if (threadIdx.x == 0) {
      m_absmax[block] = m_greatest;
      v_absmax[block] = v_greatest;
    }
  }
}
