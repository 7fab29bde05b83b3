// What every CPU kernel shares: element types, instruction-set dispatch, bfloat16.
//
// Kernels are serial over the range they are given and know nothing of threads; Compute/CPU splits the work.
// No result may depend on how a range is split: each output element is computed whole by one call, its
// terms added in a fixed order.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Activation types. Arithmetic is float for SW_F32 and SW_BF16; SW_F64 (arithmetic in double) serves gradient
// checks.
typedef enum : int32_t { SW_F32 = 0, SW_BF16 = 1, SW_F64 = 2 } sw_dtype;

typedef uint16_t sw_bf16;

// A matrix of activations: `rows` rows whose starts lie `stride` elements apart, columns contiguous.
typedef struct {
  void *data;
  int64_t rows, columns, stride;
  sw_dtype dtype;
} sw_matrix;

// Compiles a function three times (x86-64 baseline, AVX2, AVX-512) and picks at load time; elsewhere once.
#if defined(__x86_64__) && defined(__linux__)
#define SW_KERNEL __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define SW_KERNEL
#endif
#define SW_INLINE static inline __attribute__((always_inline))

SW_INLINE float sw_from_bf16(sw_bf16 value) {
  union {
    uint32_t bits;
    float value;
  } u = {.bits = (uint32_t)value << 16};
  return u.value;
}

// Rounds to nearest, ties to even; NaN stays NaN (quiet).
SW_INLINE sw_bf16 sw_to_bf16(float value) {
  union {
    float value;
    uint32_t bits;
  } u = {.value = value};
  uint32_t rounded = (u.bits + 0x7FFFu + ((u.bits >> 16) & 1u)) >> 16;
  return (sw_bf16)(value != value ? (u.bits >> 16) | 0x40u : rounded);
}
