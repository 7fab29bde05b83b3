// What every CUDA kernel shares: types, bfloat16, matrices, reductions.
//
// Conventions
// - Kernels are `extern "C"` and named OPERATION_DTYPE[_DTYPE]: rms_norm_f32_bf16 reads f32 and writes bf16.
// - No headers of NVIDIA's are needed: NVRTC's wheel brings none.
// - No result depends on the launch's shape or on the order in which blocks run: sums have one fixed order
// and there
//   are no floating-point atomics.
// - Arithmetic is float; bfloat16 is storage.
#pragma once

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__

// MARK: Kernels one after the other
//
// A kernel that was launched as overlapping may begin while the last one is ending (programmatic dependent
// launch). Both are nothing elsewhere.

// Returns when all kernels before have ended. Nothing that they write may be touched earlier, but what the
// last had to wait for itself before it let this one begin.
DEVICE void wait_for_predecessors() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// From here on, when all blocks have come here, the next kernel may begin.
DEVICE void let_successor_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// MARK: bfloat16

struct __align__(2) bf16 {
  uint16_t bits;
};

DEVICE float to_float(float value) { return value; }
DEVICE float to_float(bf16 value) { return __uint_as_float((uint32_t)value.bits << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
DEVICE bf16 to_bf16(float value) {
#if __CUDA_ARCH__ >= 800
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#else
  uint32_t bits = __float_as_uint(value);
  uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return bf16{(uint16_t)(value != value ? 0x7FFFu : rounded)};
#endif
}

// Two side by side, the first in the low half.
DEVICE uint32_t pack_bf16(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return to_bf16(low).bits | (uint32_t)to_bf16(high).bits << 16;
#endif
}

template <typename T> DEVICE T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float value) { return to_bf16(value); }

// MARK: Matrices

// sw_matrix of kernel.h: `rows` rows whose starts lie `stride` elements apart, columns contiguous.
struct matrix {
  void *data;
  int64_t rows, columns, stride;
  int32_t dtype;
};

template <typename T> DEVICE T *row(const matrix &m, int64_t index) { return (T *)m.data + index * m.stride; }

// `N` neighbouring elements that are loaded and stored at once; the address must be a multiple of their size.
template <typename T, int N> struct __align__(sizeof(T) * N) vec {
  T at[N];
};

// MARK: Reductions over a block of whole warps; the result is the same in all threads.

struct sum_of {
  static __device__ __forceinline__ float of(float a, float b) { return a + b; }
  static __device__ __forceinline__ float neutral() { return 0.0f; }
};
struct max_of {
  static __device__ __forceinline__ float of(float a, float b) { return fmaxf(a, b); }
  static __device__ __forceinline__ float neutral() { return -__int_as_float(0x7f800000); }
};

template <typename Op> DEVICE float warp_reduce(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// Every thread of the block must call it. `blockDim.x` is a multiple of 32.
template <typename Op> DEVICE float block_reduce(float value) {
  __shared__ float partial[32];
  int warps = blockDim.x / 32;
  value = warp_reduce<Op>(value);
  __syncthreads(); // the last call's partial sums are read
  if (threadIdx.x % 32 == 0)
    partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x % 32 < warps ? partial[threadIdx.x % 32] : Op::neutral();
  return warp_reduce<Op>(value);
}
