// How few_rows_nf4.cu and few_rows_nf4_batch.cu read NF4: shared memory, the table of the codes' values,
// scales.
#pragma once
#include "few_rows_formats.cuh"

#if __CUDA_ARCH__ >= 800

// The part whose rows the thread block has, with an activation the first.
DEVICE uint32_t part_of_block(const few_rows &f) {
  uint32_t part = 0;
  while (part + 1 < f.parts && blockIdx.x >= f.part[part + 1].first_block)
    part++;
  return part;
}

// MARK: Shared memory
//
// In order: the maps of the scales, slots (or stages), at a multiple of its size the table, or with an
// activation the gate's and up's, the other slots, and x, or where it fits a copy of it. Where shared memory
// is large, the 32 lanes' copies of a byte's values lie at 256 times the byte, up's 128 bytes behind the
// gate's: so that one operation puts an address together. Elsewhere they lie at 128 times the byte. (The host
// knows this: FewRowsLaunch.)

#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
enum { TABLE_PITCH = 128, SECOND_TABLE = 256 * 128, THREADS = 320 };
#else
enum { TABLE_PITCH = 256, SECOND_TABLE = 128, THREADS = 576 };
#endif
enum { RESERVED = 1024, MAPS_BYTES = 2048, TABLE_BYTES = 256 * TABLE_PITCH, SLOT_BYTES = 2048 };
enum { SLOTS_BEFORE = (TABLE_BYTES - RESERVED - MAPS_BYTES) / SLOT_BYTES };

// The pair of bfloat16 of each byte of two codes, once for each lane: no two lanes meet in a bank. `code`:
// that of the lane's number. The first `threads` fill it.
DEVICE void fill_table(uint8_t *table, float code, int threads) {
  for (int i = threadIdx.x; i < 256 * 8; i += threads) { // all lanes, or none
    const float first = __shfl_sync(0xffffffffu, code, i / 8 >> 4);
    const uint32_t pair = pack_bf16(first, __shfl_sync(0xffffffffu, code, i / 8 & 15));
    *(vec<uint32_t, 4> *)(table + i / 8 * TABLE_PITCH + i % 8 * 16) =
        vec<uint32_t, 4>{pair, pair, pair, pair};
  }
}

// The map of double-quantised scales, on its way, by `threads` of which this is number `thread`.
DEVICE void copy_map(uint32_t shared, const weight &w, int thread, int threads) {
  if (w.absmax_map)
    for (int i = thread; i < 256; i += threads)
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

// The scale that a code gives, by shared memory's map.
DEVICE float twice_scaled(uint32_t map, uint32_t code, float nested, float offset) {
  float value; // not before the copy of the map has come
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(map + code * 4) : "memory");
  return __fadd_rn(__fmul_rn(value, nested), offset);
}

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
  DEVICE_MEMBER float of(uint32_t map, int i) const { return twice_scaled(map, code[i], nested[i], offset); }
};

// The scales of a row's blocks, four at a time, on their way.
template <bool TWICE> struct group_scales {
  const float *absmax; // of all blocks
  float coming[4];

  DEVICE_MEMBER void aim(const weight &w, uint32_t) { absmax = w.absmax; }
  // Those of `count` blocks from `block` on.
  DEVICE_MEMBER void load(uint32_t block, int count) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (i < count)
        coming[i] = __ldg(absmax + block + i);
  }
  DEVICE_MEMBER void get(float (&scales)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i++)
      scales[i] = coming[i];
  }
};

// What loads bring stays as it comes until it is needed: else they would be waited for.
template <> struct group_scales<true> {
  const uint8_t *codes; // of all blocks
  const float *absmax;  // of 256 blocks each
  uint32_t map;
  float offset;
  uint32_t words[2]; // that the codes lie in: memory ends with a whole one
  float nested[2];   // of the first blocks, and of those from 256 on
  uint32_t first;

  DEVICE_MEMBER void aim(const weight &w, uint32_t map) {
    this->map = map;
    codes = w.absmax_codes;
    absmax = w.nested_absmax;
    offset = w.nested_offset;
    words[0] = words[1] = 0;
    nested[0] = nested[1] = 0;
  }
  DEVICE_MEMBER void load(uint32_t block, int count) {
    first = block;
    if (count <= 0)
      return;
    const uint32_t last = block + min(count, 4) - 1;
    words[0] = __ldg((const uint32_t *)codes + block / 4);
    if (last / 4 != block / 4)
      words[1] = __ldg((const uint32_t *)codes + last / 4);
    nested[0] = __ldg(absmax + block / 256);
    if (last / 256 != block / 256)
      nested[1] = __ldg(absmax + last / 256);
  }
  DEVICE_MEMBER void get(float (&scales)[4]) const {
    const uint32_t word = __funnelshift_r(words[0], words[1], first % 4 * 8);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float scale = first / 256 == (first + i) / 256 ? nested[0] : nested[1];
      scales[i] = twice_scaled(map, word >> 8 * i & 255, scale, offset);
    }
  }
};

#endif
