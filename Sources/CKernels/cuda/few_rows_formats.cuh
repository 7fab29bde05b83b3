// How few_rows_mma.cuh reads weights: their formats on the way from memory to the operands of tensor cores.
#pragma once
#include "few_rows_operands.cuh"
#include "tensor_cores.cuh"

#if __CUDA_ARCH__ >= 800
#define DEVICE_MEMBER __device__ __forceinline__

enum few_rows_format { F_INT8, F_BF16, F_F16, F_F32 };

template <int F> struct format_traits {
  // 32-bit words that a lane holds of a block of a row
  static constexpr int WORDS = F == F_INT8 ? 4 : F == F_F32 ? 16 : 8;
};

// Blocks of a group: 128 bytes a lane.
template <int F, int MT> constexpr int group_width() {
  return 32 / (2 * MT * format_traits<F>::WORDS) > 1 ? 32 / (2 * MT * format_traits<F>::WORDS) : 1;
}

// MARK: Loads

// Weights are read once: past the L1 cache, in whole lines of DRAM.
DEVICE vec<uint32_t, 4> load_once_16(const void *at) {
  vec<uint32_t, 4> v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.at[0]), "=r"(v.at[1]), "=r"(v.at[2]), "=r"(v.at[3])
               : "l"(at));
  return v;
}
DEVICE void prefetch_line(const void *at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

template <int WORDS> DEVICE void load_words(const uint8_t *at, uint32_t (&words)[WORDS]) {
#pragma unroll
  for (int i = 0; i < WORDS; i += 4) {
    const auto v = load_once_16(at + 4 * i);
#pragma unroll
    for (int k = 0; k < 4; k++)
      words[i + k] = v.at[k];
  }
}

// MARK: Operands of the tensor cores

// Elements 4 s... of a lane's 16: two pairs of bfloat16.
template <int F>
DEVICE void decode(const uint32_t (&words)[format_traits<F>::WORDS], int s, uint32_t &first,
                   uint32_t &second) {
  if constexpr (F == F_INT8) {
    // A byte below 2^23's exponent is a float 2^23 greater than the unsigned byte.
    const uint32_t word = words[s] ^ 0x80808080u;
    float value[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
      value[i] = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440 + i)) - 8388736.0f;
    first = pack_bf16(value[0], value[1]), second = pack_bf16(value[2], value[3]);
  } else if constexpr (F == F_BF16) {
    first = words[2 * s], second = words[2 * s + 1];
  } else if constexpr (F == F_F16) {
    first = pack_bf16(from_f16(words[2 * s] & 0xffff), from_f16(words[2 * s] >> 16));
    second = pack_bf16(from_f16(words[2 * s + 1] & 0xffff), from_f16(words[2 * s + 1] >> 16));
  } else {
    first = pack_bf16(__uint_as_float(words[4 * s]), __uint_as_float(words[4 * s + 1]));
    second = pack_bf16(__uint_as_float(words[4 * s + 2]), __uint_as_float(words[4 * s + 3]));
  }
}

#endif
