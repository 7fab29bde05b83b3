// Layers for few rows (FewRows.swift) in NF4, on tensor cores: bfloat16 rows of x, at most 16, with weights
// that are read once.
//
// A warp multiplies 16 rows of the weight, with an activation 8 of the gate's and the same 8 of up's, by all
// rows of x, which are the columns of its products (mma.m16n8k16). Its share of the weight's columns comes in
// groups of 256, by asynchronous copies to slots in shared memory: the next are on their way while one is
// multiplied, from registers. Lane (g, t) = (lane / 4, lane % 4) holds the 16 elements from 16 t on of a
// block of 64 of rows g and g + 8: any order within a block serves, as long as both operands have the same. A
// table in shared memory gives the two values of each byte; a block's scale applies to its sums.
//
// A thread block has some tiles of 16 rows, all of one part, and `splits` warps for each, whose sums are
// added up in order at the end. No sum depends on how many rows x has.
#include "few_rows_table.cuh"

#if __CUDA_ARCH__ >= 800

// MARK: Work

// Rows of the weight, from `row` on: with an activation, of both parts.
struct nf4_tile {
  uint32_t part, row;

  // Finds the thread block's tile `local`, of 1 << shift rows; whether there is one.
  DEVICE_MEMBER bool find(const few_rows &f, int shift, uint32_t local) {
    part = part_of_block(f);
    row = ((blockIdx.x - f.part[part].first_block) * f.tiles + local) << shift;
    return row < f.part[part].w.rows;
  }
};

template <bool TWICE, int NT> struct nf4_rows {
  // Of a warp. With more rows of x a group takes longer than the next is on its way, and x wants the room.
  static constexpr int SLOTS = NT == 1 ? 2 : 1;

  const few_rows &f;
  uint8_t *const shared;
  const uint32_t start; // its address
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint32_t blocks, groups; // of columns
  uint32_t table[2];             // the lane's columns of the tables for rows g and g + 8
  uint32_t map;                  // for the lane's scales
  block_scales<TWICE> coming;    // of row lane % 16, blocks 2 (lane / 16)... of a group
  const uint8_t *from[4];        // 16 bytes of rows lane / 8 + 4 i that come next
  const bf16 *x[NT];             // the lane's elements of its rows, of the group that is multiplied
  bool has_x[NT];                // whether there are such rows
  uint32_t write_at, read_at;    // the lane's places in a slot
  int write_block, scale_block;  // and the blocks of a group that it copies, and whose scales it has
  float totals[NT][4];

  DEVICE_MEMBER nf4_rows(const few_rows &f, uint8_t *shared)
      : f(f), shared(shared), start((uint32_t)__cvta_generic_to_shared(shared)),
        blocks((uint32_t)f.x.columns / 64), groups((blocks + 3) / 4) {}

  DEVICE_MEMBER bool gated() const { return f.activation != ACT_NONE; }
  DEVICE_MEMBER int height() const { return gated() ? 8 : 16; }
  // Of shared memory's addresses.
  DEVICE_MEMBER uint32_t end_of_tables() const {
    return (TABLE_PITCH == 128 && gated() ? 3 : 2) * TABLE_BYTES;
  }
  DEVICE_MEMBER uint32_t slot(int index, int warp) const {
    const int place = index * (blockDim.x / 32) + warp;
    return place < SLOTS_BEFORE ? start + MAPS_BYTES + place * SLOT_BYTES
                                : end_of_tables() + (place - SLOTS_BEFORE) * SLOT_BYTES;
  }
  DEVICE_MEMBER bool copies_x() const { return f.rows_before >= 0; }
  // Row r of the copy of x: the first few lie before the table. 8 lanes that read a column meet in no bank.
  DEVICE_MEMBER uint32_t copy_of_x(int r) const {
    const int slots = SLOTS * (blockDim.x / 32), pitch = blocks * 128 + 16, before = (int)f.rows_before;
    return r < before ? start + MAPS_BYTES + min(slots, SLOTS_BEFORE) * SLOT_BYTES + r * pitch
                      : end_of_tables() + max(0, slots - SLOTS_BEFORE) * SLOT_BYTES + (r - before) * pitch;
  }

  // MARK: Weights

  // Rows 8 half... of the warp's 16: their part, and a row of it, at most the last.
  DEVICE_MEMBER const few_rows_part &part_of(const nf4_tile &tile, int half) const {
    return f.part[gated() ? half : tile.part];
  }
  DEVICE_MEMBER int row_of(const nf4_tile &tile, int half, int r) const {
    return min(tile.row + (gated() ? 0 : 8 * half) + r, (int)part_of(tile, half).w.rows - 1);
  }

  DEVICE_MEMBER void aim(const nf4_tile &tile, int low) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const auto *data = (const uint8_t *)part_of(tile, i / 2).w.data + low * 128 + lane % 8 * 16;
      from[i] = data + (int64_t)row_of(tile, i / 2, lane / 8 + i % 2 * 4) * (blocks * 32);
    }
    scale_block = lane / 16 * 2;
    write_block = lane % 8 / 2;
    const int half = lane % 16 / 8;
    coming.aim(part_of(tile, half).w,
               (uint32_t)row_of(tile, half, lane % 8) * blocks + low * 4 + scale_block);
    // Rows of 128 bytes, whose pieces of 16 lie so that lanes that read them meet in no bank.
    write_at = lane / 8 * 128 + (lane % 8 ^ lane / 8 * 2) * 16;
    read_at = g * 128 + g % 4 * 32 + t * 8;
    asm volatile("" : "+r"(write_at), "+r"(read_at), "+r"(write_block), "+r"(scale_block)); // kept
  }

  // The next group, of which `count` blocks are left, on its way to a slot.
  DEVICE_MEMBER void fetch(uint32_t slot, int count) {
    if (count > write_block) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        copy_16(slot + write_at + i * 512, from[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      from[i] += 128;
    end_copies();
  }

  // MARK: x

  DEVICE_MEMBER void copy_x() const {
    for (int r = 0; r < (int)f.x.rows; r++)
      for (int i = threadIdx.x; i < blocks * 8; i += blockDim.x)
        copy_16(copy_of_x(r) + i * 16, row<bf16>(f.x, r) + i * 8);
  }
  DEVICE_MEMBER void find_x(int low) {
#pragma unroll
    for (int n = 0; n < NT; n++) {
      const int r = 8 * n + g;
      has_x[n] = r < (int)f.x.rows;
      if (has_x[n])
        x[n] = (copies_x() ? (const bf16 *)(shared + (copy_of_x(r) - start)) : row<bf16>(f.x, r)) +
               low * 256 + 16 * t;
    }
  }
  // Of block d of the group from x on. Columns of the products past the last row are anything, and are not
  // stored.
  DEVICE_MEMBER void load_x(int n, int d, uint32_t (&b)[8]) const {
    if (has_x[n]) {
      const auto *at = (const vec<uint32_t, 4> *)(x[n] + d * 64);
      const auto low = at[0], high = at[1];
#pragma unroll
      for (int i = 0; i < 4; i++)
        b[i] = low.at[i], b[4 + i] = high.at[i];
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++)
        asm("" : "=r"(b[i]));
    }
  }

  // MARK: Products

  // Elements 4 s... of a lane's share of a block, of both its rows.
  DEVICE_MEMBER void decode(const uint32_t (&words)[2][2], int s, uint32_t (&a)[4]) const {
#pragma unroll
    for (int half = 0; half < 2; half++)
      decode_nf4(words[half], s, table[half], a[half], a[2 + half]);
  }

  // Block d of a group out of its slot, and its scales from those that the lanes have.
  DEVICE_MEMBER void take(uint32_t slot, int d, const float (&mine)[2], uint32_t (&words)[2][2],
                          float (&scales)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      load_shared_8((slot + read_at ^ d * 32) + half * 1024, words[half]);
      scales[half] = __shfl_sync(0xffffffffu, mine[d % 2], d / 2 * 16 + half * 8 + g);
    }
  }

  // totals += COUNT blocks of a group. While one is multiplied, the next is decoded and its x comes. `b`: x
  // of the first block, then of the one after the last if there is `more`.
  template <int COUNT>
  DEVICE_MEMBER void multiply(const uint32_t (&words)[4][2][2], const float (&scales)[4][2], bool more,
                              uint32_t (&b)[NT][8]) {
    uint32_t a[2][4][4];
#pragma unroll
    for (int s = 0; s < 4; s++)
      decode(words[0], s, a[0][s]);
#pragma unroll
    for (int d = 0; d < COUNT; d++) {
#pragma unroll
      for (int n = 0; n < NT; n++) {
        uint32_t next[8];
        if (d + 1 < COUNT || more)
          load_x(n, d + 1, next);
        float sums[4] = {};
#pragma unroll
        for (int s = 0; s < 4; s++) {
          mma(sums, a[d % 2][s], b[n][2 * s], b[n][2 * s + 1]);
          if (n == NT - 1 && d + 1 < COUNT)
            decode(words[d + 1], s, a[(d + 1) % 2][s]);
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
          totals[n][i] = fmaf(scales[d][i / 2], sums[i], totals[n][i]);
#pragma unroll
        for (int i = 0; i < 8; i++)
          b[n][i] = next[i];
      }
    }
  }

  // `count` blocks, whose first groups are on their way.
  DEVICE_MEMBER void sum_up(int count) {
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        totals[n][i] = 0;
    uint32_t b[NT][8];
#pragma unroll
    for (int n = 0; n < NT; n++)
      load_x(n, 0, b[n]);
    uint32_t now = slot(0, warp), next = slot(SLOTS - 1, warp);
    for (; count > 0; count -= 4) {
      wait_for_copies<SLOTS - 1>();
      __syncwarp();
      const float mine[2] = {coming.of(map, 0), coming.of(map, 1)};
      coming.load(count - 4 - scale_block);
      uint32_t words[4][2][2];
      float scales[4][2];
#pragma unroll
      for (int d = 0; d < 4; d++)
        take(now, d, mine, words[d], scales[d]);
      __syncwarp(); // the slot is free
      fetch(now, count - 4 * SLOTS);
      if (count >= 4)
        multiply<4>(words, scales, count > 4, b);
      else if (count == 3)
        multiply<3>(words, scales, false, b);
      else if (count == 2)
        multiply<2>(words, scales, false, b);
      else
        multiply<1>(words, scales, false, b);
      const uint32_t freed = now;
      now = next, next = freed;
#pragma unroll
      for (int n = 0; n < NT; n++)
        x[n] += 256;
    }
  }

  // MARK: Sums of the warps

  // A warp's, in the place of its first slot: 16 for each row of x.
  DEVICE_MEMBER float *sums_of(int warp) const { return (float *)(shared + (slot(0, warp) - start)); }

  DEVICE_MEMBER void store() const {
    float *sums = sums_of(warp);
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int c = 8 * n + 2 * t + i % 2;
        if (c < f.x.rows)
          sums[c * 16 + g + i / 2 * 8] = totals[n][i];
      }
  }

  // Writes what the sums of the warp's tile give: its share of them.
  DEVICE_MEMBER void finish_tile(const nf4_tile &tile, int first, int split) const {
    const int height = this->height(), r = lane % height;
    if (tile.row + r >= f.part[tile.part].w.rows)
      return;
    for (int c = split * (32 / height) + lane / height; c < f.x.rows; c += f.splits * (32 / height)) {
      float sum = 0, other = 0;
      for (int i = 0; i < f.splits; i++) {
        const float *sums = sums_of(first + i) + c * 16 + r;
        sum += sums[0];
        other += sums[gated() ? 8 : 0];
      }
      if (gated())
        finish_gated<bf16>(f, c, tile.row + r, sum, other);
      else
        finish<bf16>(f, f.part[tile.part], c, tile.row + r, sum);
    }
  }

  // Brings the rows of the adapters that finish_tile() reads to the L2 cache.
  DEVICE_MEMBER void prefetch_ups(const nf4_tile &tile) const {
    const int half = lane % 16 / 8;
    const few_rows_part &part = part_of(tile, half);
    if (part.up)
      for (int k = lane / 16 * 32; k < part.rank; k += 64)
        prefetch_line(part.up + (int64_t)row_of(tile, half, lane % 8) * part.rank + k);
  }
};

template <bool TWICE, int NT> DEVICE void multiply_nf4_rows(const few_rows &f) {
  extern __shared__ __align__(16) uint8_t shared[];
  nf4_rows<TWICE, NT> m(f, shared);
  const bool gated = m.gated();
  const uint32_t local = m.warp / f.splits, split = m.warp - local * f.splits;
  const uint32_t low = m.groups * split / f.splits, high = m.groups * (split + 1) / f.splits;
  const int count = (int)(min(high * 4, m.blocks) - low * 4);
  nf4_tile tile;
  const bool works = tile.find(f, gated ? 3 : 4, local);
  const weight &first = f.part[gated ? 0 : tile.part].w, &second = f.part[1].w;

  // Weights are older than the kernels before. So is x where there is h: whatever makes h from it lets its
  // successor begin only when x has come.
  let_successor_begin();
  const bool two = gated && (first.code != second.code || first.absmax_map != second.absmax_map);
  const float codes[2] = {first.code[m.lane % 16], two ? second.code[m.lane % 16] : 0};
  if (works) {
    m.aim(tile, low);
    m.coming.load(count - m.scale_block);
#pragma unroll
    for (int i = 0; i < m.SLOTS; i++)
      m.fetch(m.slot(i, m.warp), count - 4 * i);
  }
  copy_map(m.start, first, threadIdx.x, blockDim.x);
  if (two)
    copy_map(m.start + 1024, second, threadIdx.x, blockDim.x);
  if (f.h.data && m.copies_x())
    m.copy_x();
  if (works && split == 0)
    m.prefetch_ups(tile);
  fill_table(shared + (TABLE_BYTES - m.start), codes[0], blockDim.x);
  if (two)
    fill_table(shared + (TABLE_BYTES + SECOND_TABLE - m.start), codes[1], blockDim.x);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    m.table[half] = TABLE_BYTES + (two ? half * SECOND_TABLE : 0) + m.lane * 4;
    asm volatile("" : "+r"(m.table[half])); // kept rather than computed again
  }
  m.map = m.start + (two ? m.lane % 16 / 8 * 1024 : 0);
  if (!f.h.data) {
    wait_for_predecessors();
    if (m.copies_x())
      m.copy_x();
  }
  m.find_x(low);
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  if (works) {
    m.sum_up(count);
    m.store();
  }
  if (f.h.data)
    wait_for_predecessors();
  __syncthreads();
  if (works)
    m.finish_tile(tile, m.warp - split, split);
}

#define NF4_ROWS(NAME, TWICE, NT)                                                                            \
  KERNEL __launch_bounds__(THREADS, 1) few_rows_##NAME##_n##NT(const __grid_constant__ few_rows f) {         \
    multiply_nf4_rows<TWICE, NT>(f);                                                                         \
  }
NF4_ROWS(nf4, false, 1)
NF4_ROWS(nf4, false, 2)
NF4_ROWS(nf4_twice, true, 1)
NF4_ROWS(nf4_twice, true, 2)

#endif
