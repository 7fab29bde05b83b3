// How few_rows_mma.cuh reads weights: their formats on the way from memory to the operands of tensor cores.
#pragma once
#include "few_rows_operands.cuh"

#if __CUDA_ARCH__ >= 800
#define DEVICE_MEMBER __device__ __forceinline__

enum few_rows_format { F_NF4, F_NF4_TWICE, F_INT8, F_BF16, F_F16, F_F32 };

template <int F> struct format_traits {
  static constexpr bool NF4 = F == F_NF4 || F == F_NF4_TWICE;
  // 32-bit words that a lane holds of a block of a row
  static constexpr int WORDS = NF4 ? 2 : F == F_INT8 ? 4 : F == F_F32 ? 16 : 8;
};

// Blocks of a group: 128 bytes a lane, or NF4's four scales, which lie in one word.
template <int F, int MT> constexpr int group_width() {
  return format_traits<F>::NF4                         ? 4
         : 32 / (2 * MT * format_traits<F>::WORDS) > 1 ? 32 / (2 * MT * format_traits<F>::WORDS)
                                                       : 1;
}

// MARK: Tables in shared memory

// The pair of bfloat16 of each byte of two NF4 codes, once for each lane: no two lanes meet in a bank. Where
// shared memory is large, the 32 copies of a byte lie at 256 times the byte, the second table's 128 bytes
// behind the first's, from a multiple of 64 KB on: so that one operation puts an address together. Elsewhere
// they lie at 128 times the byte, a table after the other, each from a multiple of its size on. (The host
// knows this: FewRowsLaunch.)
#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
static constexpr bool WIDE_TABLE = false;
static constexpr int NF4_THREADS = 256;
#else
static constexpr bool WIDE_TABLE = true;
static constexpr int NF4_THREADS = 480; // 15 stages of 4 KB fit before the table
#endif
static constexpr uint32_t TABLE_PITCH = WIDE_TABLE ? 256 : 128, TABLE_BYTES = 256 * TABLE_PITCH;
static constexpr uint32_t SECOND_TABLE = WIDE_TABLE ? 128 : TABLE_BYTES;

DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// `map`: that of double-quantised scales.
DEVICE void fill_table(uint8_t *table, float *map, const weight &w) {
  const float code = w.code[threadIdx.x % 16];
  for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) { // all lanes, or none
    const float first = __shfl_sync(0xffffffffu, code, i / 8 >> 4);
    const uint32_t pair = pack_bf16(first, __shfl_sync(0xffffffffu, code, i / 8 & 15));
    *(vec<uint32_t, 4> *)(table + i / 8 * TABLE_PITCH + i % 8 * 16) =
        vec<uint32_t, 4>{pair, pair, pair, pair};
  }
  if (w.absmax_map)
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
      map[i] = w.absmax_map[i];
}

DEVICE uint32_t load_shared(uint32_t address) {
  uint32_t value;
  asm("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(address));
  return value;
}

// Two words that other lanes copied there.
DEVICE void load_shared_8(uint32_t address, uint32_t (&words)[2]) {
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "r"(address) : "memory");
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
DEVICE vec<uint32_t, 2> load_once_8(const void *at) {
  vec<uint32_t, 2> v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.b32 {%0, %1}, [%2];"
               : "=r"(v.at[0]), "=r"(v.at[1])
               : "l"(at));
  return v;
}

DEVICE void copy_once_16(uint32_t shared, const void *at) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(at) : "memory");
}

DEVICE void prefetch_line(const void *at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

template <int WORDS> DEVICE void load_words(const uint8_t *at, uint32_t (&words)[WORDS]) {
  if constexpr (WORDS == 2) {
    const auto v = load_once_8(at);
    words[0] = v.at[0], words[1] = v.at[1];
  } else {
#pragma unroll
    for (int i = 0; i < WORDS; i += 4) {
      const auto v = load_once_16(at + 4 * i);
#pragma unroll
      for (int k = 0; k < 4; k++)
        words[i + k] = v.at[k];
    }
  }
}

// The scales of a group's four blocks of one row, on their way: NF4's only. `block`: the group's first;
// `count` of its blocks exist; `whole`: so do all, in every group.
template <int F> struct group_scales {
  DEVICE_MEMBER void aim(const weight &, int64_t, int) {}
  DEVICE_MEMBER void load(int, int, bool) {}
  DEVICE_MEMBER float of(const float *, int) const { return 1; }
};

template <> struct group_scales<F_NF4> {
  const float *from;
  float absmax[4];

  DEVICE_MEMBER void aim(const weight &w, int64_t row, int blocks) { from = w.absmax + row * blocks; }
  DEVICE_MEMBER void load(int block, int count, bool) {
#pragma unroll
    for (int d = 0; d < 4; d++)
      if (d < count)
        absmax[d] = __ldg(from + block + d);
  }
  DEVICE_MEMBER float of(const float *, int d) const { return absmax[d]; }
};

template <> struct group_scales<F_NF4_TWICE> {
  const uint8_t *from;
  const float *nested_from;
  uint32_t first; // block of the row
  float offset;
  uint32_t codes;
  float nested[2]; // of the group's first block and the last, which may be in the next 256
  int place;       // of the first in its 256

  DEVICE_MEMBER void aim(const weight &w, int64_t row, int blocks) {
    first = (uint32_t)(row * blocks);
    from = w.absmax_codes + first;
    nested_from = w.nested_absmax;
    offset = w.nested_offset;
  }
  DEVICE_MEMBER void load(int block, int count, bool whole) {
    const uint32_t at = first + block;
    place = (int)at & 255;
    nested[0] = nested[1] = __ldg(nested_from + (at >> 8));
    if (whole) {
      codes = __ldg((const uint32_t *)(from + block));
    } else {
      codes = 0;
#pragma unroll
      for (int d = 0; d < 4; d++)
        if (d < count)
          codes |= (uint32_t)__ldg(from + block + d) << 8 * d;
      nested[1] = __ldg(nested_from + (at + count - 1 >> 8));
    }
  }
  DEVICE_MEMBER float of(const float *map, int d) const {
    const float absmax = map[codes >> 8 * d & 255];
    return __fadd_rn(__fmul_rn(absmax, place + d > 255 ? nested[1] : nested[0]), offset);
  }
};

// MARK: Operands of the tensor cores

// Elements 4 s... of a lane's 16: two pairs of bfloat16. `table`: the lane's column of NF4's.
template <int F>
DEVICE void decode(const uint32_t (&words)[format_traits<F>::WORDS], int s, uint32_t table, uint32_t &first,
                   uint32_t &second) {
  if constexpr (format_traits<F>::NF4) {
    const uint32_t word = words[s / 2];
    if constexpr (WIDE_TABLE) {
      first = load_shared(__byte_perm(word, table, s % 2 ? 0x7624 : 0x7604));
      second = load_shared(__byte_perm(word, table, s % 2 ? 0x7634 : 0x7614));
    } else {
      const uint32_t a = s % 2 ? word >> 9 : word << 7, b = s % 2 ? word >> 17 : word >> 1;
      first = load_shared(a & 0x7f80 | table);
      second = load_shared(b & 0x7f80 | table);
    }
  } else if constexpr (F == F_INT8) {
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

// d += a b: lane (g, t) holds of d rows g, g + 8 and columns 2 t, 2 t + 1.
DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
