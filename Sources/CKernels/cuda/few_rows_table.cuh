// How few_rows_nf4.cu reads NF4: shared memory, the table of the codes' values, scales.
#pragma once
#include "few_rows_formats.cuh"

#if __CUDA_ARCH__ >= 800

// MARK: Shared memory
//
// In order: the maps of the scales, slots, at a multiple of its size the table, or with an activation the
// gate's and up's, the other slots, and where it fits a copy of x. Where shared memory is large, the 32
// lanes' copies of a byte's values lie at 256 times the byte, up's 128 bytes behind the gate's: so that one
// operation puts an address together. Elsewhere they lie at 128 times the byte. (The host knows this:
// FewRowsLaunch.)

#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
enum { TABLE_PITCH = 128, SECOND_TABLE = 256 * 128, THREADS = 320 };
#else
enum { TABLE_PITCH = 256, SECOND_TABLE = 128, THREADS = 576 };
#endif
enum { RESERVED = 1024, MAPS_BYTES = 2048, TABLE_BYTES = 256 * TABLE_PITCH, SLOT_BYTES = 2048 };
enum { SLOTS_BEFORE = (TABLE_BYTES - RESERVED - MAPS_BYTES) / SLOT_BYTES };

// The pair of bfloat16 of each byte of two codes, once for each lane: no two lanes meet in a bank. `code`:
// that of the lane's number.
DEVICE void fill_table(uint8_t *table, float code) {
  for (int i = threadIdx.x; i < 256 * 8; i += blockDim.x) { // all lanes, or none
    const float first = __shfl_sync(0xffffffffu, code, i / 8 >> 4);
    const uint32_t pair = pack_bf16(first, __shfl_sync(0xffffffffu, code, i / 8 & 15));
    *(vec<uint32_t, 4> *)(table + i / 8 * TABLE_PITCH + i % 8 * 16) =
        vec<uint32_t, 4>{pair, pair, pair, pair};
  }
}

// The map of double-quantised scales, on its way.
DEVICE void copy_map(uint32_t shared, const weight &w) {
  if (w.absmax_map)
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared + i * 4), "l"(w.absmax_map + i)
                   : "memory");
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

// Elements 4 s... of a lane's 16: two pairs of bfloat16. `table`: the lane's column.
DEVICE void decode_nf4(const uint32_t (&words)[2], int s, uint32_t table, uint32_t &first, uint32_t &second) {
  const uint32_t word = words[s / 2];
  if constexpr (TABLE_PITCH == 256) {
    first = load_shared(__byte_perm(word, table, s % 2 ? 0x7624 : 0x7604));
    second = load_shared(__byte_perm(word, table, s % 2 ? 0x7634 : 0x7614));
  } else {
    const uint32_t a = s % 2 ? word >> 9 : word << 7, b = s % 2 ? word >> 17 : word >> 1;
    first = load_shared(a & 0x7f80 | table);
    second = load_shared(b & 0x7f80 | table);
  }
}

// MARK: Scales

// The scales of two neighbouring blocks of a row, on their way.
template <bool TWICE> struct block_scales {
  const float *from;
  float absmax[2];

  DEVICE_MEMBER void aim(const weight &w, uint32_t block) { from = w.absmax + block; }
  // The first `count` of the two; the next time those a group on.
  DEVICE_MEMBER void load(int count) {
#pragma unroll
    for (int i = 0; i < 2; i++)
      if (i < count)
        absmax[i] = __ldg(from + i);
    from += 4;
  }
  DEVICE_MEMBER float of(uint32_t, int i) const { return absmax[i]; }
};

template <> struct block_scales<true> {
  const uint8_t *codes;
  const float *absmax;
  uint32_t block;
  float offset;
  uint32_t code[2];
  float nested[2];

  DEVICE_MEMBER void aim(const weight &w, uint32_t first) {
    codes = w.absmax_codes + first;
    absmax = w.nested_absmax;
    block = first;
    offset = w.nested_offset;
    code[0] = code[1] = 0;
  }
  DEVICE_MEMBER void load(int count) {
#pragma unroll
    for (int i = 0; i < 2; i++)
      if (i < count) {
        code[i] = __ldg(codes + i);
        nested[i] = __ldg(absmax + (block + i >> 8));
      }
    codes += 4;
    block += 4;
  }
  DEVICE_MEMBER float of(uint32_t map, int i) const {
    float value; // not before the copy of the map has come
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(map + code[i] * 4) : "memory");
    return __fadd_rn(__fmul_rn(value, nested[i]), offset);
  }
};

#endif
