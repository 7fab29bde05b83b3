// Layers for up to 64 rows (FewRows.swift) in NF4, on tensor cores: where few_rows_nf4.cu would read its
// weights several times. Products are as there, in the same order, so that a row gets the same bits from
// both.
//
// A thread block has a range of the weight's columns, which it takes 256 at a time, for 32 rows of the
// weight of each of its warps. Three more warps bring what the others multiply next, to one of several stages
// in shared memory: x, once for all of them, weights, and their scales. Nothing is added up here:
// few_rows_finish.cu does that with the sums of all ranges, the adapters and the rest.
#include "few_rows_table.cuh"

#if __CUDA_ARCH__ >= 800

enum { TILES = 2, MULTIPLYING = 9, BRINGING = 3 }; // tiles of a warp, most warps that do
// Of a warp's rows in a stage: the weights, and their scales.
enum { SCALES_BYTES = 512, WARP_STAGE_BYTES = TILES * SLOT_BYTES + SCALES_BYTES };
enum { X_PITCH = 256 * 2 + 16 }; // bytes of a row of x in a stage: 8 lanes that read a column meet in no bank

// MARK: Shared memory
//
// Maps and tables lie as in few_rows_nf4.cu, the stages of the warps' rows where they fit, then those of x.
// (The host knows this, and starts the kernel only where shared memory is large: FewRowsLaunch.)

template <int NT> struct batch_memory {
  // With few rows of x a stage takes no longer than the next is on its way.
  static constexpr int STAGES = NT == 2 ? 3 : 2;
  static constexpr int BEFORE = (TABLE_BYTES - RESERVED - MAPS_BYTES) / (STAGES * WARP_STAGE_BYTES);

  static constexpr uint32_t END_OF_TABLES = 2 * TABLE_BYTES;

  const uint32_t start; // the first address
  const int warps;      // that multiply

  DEVICE_MEMBER batch_memory(uint32_t start) : start(start), warps((int)blockDim.x / 32 - BRINGING) {}

  DEVICE_MEMBER uint32_t weights(int warp, int stage) const {
    const uint32_t first = warp < BEFORE ? start + MAPS_BYTES + warp * (STAGES * WARP_STAGE_BYTES)
                                         : END_OF_TABLES + (warp - BEFORE) * (STAGES * WARP_STAGE_BYTES);
    return first + stage * WARP_STAGE_BYTES;
  }
  DEVICE_MEMBER uint32_t scales(int warp, int stage) const {
    return weights(warp, stage) + TILES * SLOT_BYTES;
  }
  DEVICE_MEMBER uint32_t x(int stage) const {
    return END_OF_TABLES + max(0, warps - BEFORE) * (STAGES * WARP_STAGE_BYTES) + stage * (8 * NT * X_PITCH);
  }
};

// MARK: Rows of the weight

// 32 rows of a part, which a thread block has one of; with an activation 16 of the gate's, and the same of
// up's. A tile has 16, of both parts 8.
struct batch_rows {
  const few_rows &f;
  uint32_t part, row;

  DEVICE_MEMBER batch_rows(const few_rows &f, int warp) : f(f) {
    part = part_of_block(f);
    row = ((blockIdx.x - f.part[part].first_block) * f.tiles + warp) * (gated() ? 16 : 32);
  }

  DEVICE_MEMBER bool are_there() const { return row < f.part[part].w.rows; }
  DEVICE_MEMBER bool gated() const { return f.activation != ACT_NONE; }
  // Of rows 8 half... of a tile.
  DEVICE_MEMBER const few_rows_part &part_of(int half) const { return f.part[gated() ? half : part]; }
  DEVICE_MEMBER uint32_t row_of(int tile, int half, int r) const {
    return row + (gated() ? 8 * tile : 16 * tile + 8 * half) + r;
  }
  // At most the part's last.
  DEVICE_MEMBER uint32_t clamped_row_of(int tile, int half, int r) const {
    return min(row_of(tile, half, r), (uint32_t)part_of(half).w.rows - 1);
  }

  // Brings the rows of the adapters that few_rows_finish.cu reads to the L2 cache.
  DEVICE_MEMBER void prefetch_ups() const {
    const int lane = threadIdx.x % 32, half = lane % 16 / 8;
    const few_rows_part &part = part_of(half);
    const uint32_t j = row_of(lane / 16, half, lane % 8);
    if (part.up && j < part.w.rows)
      for (int k = 0; k < part.rank; k += 32)
        prefetch_line(part.up + (int64_t)j * part.rank + k);
  }
};

// MARK: Bringing

template <bool TWICE, int NT> struct bringer {
  static constexpr int MOST = (MULTIPLYING + BRINGING - 1) / BRINGING; // warps that it brings rows to

  const few_rows &f;
  const batch_memory<NT> &memory;
  const int lane = threadIdx.x % 32, index; // of those that bring
  const int first_column, count;            // of the range; its blocks
  const uint8_t *data[2];                   // of rows 0... and 8... of a tile
  uint32_t from[MOST][8];                   // the lane's 16 bytes of rows lane / 8 + 4 i
  uint32_t block[MOST];                     // the first of row `lane`
  group_scales<TWICE> scales[MOST];
  bool has[MOST];

  DEVICE_MEMBER bringer(const few_rows &f, const batch_memory<NT> &memory, int index, int low, int count,
                        bool two)
      : f(f), memory(memory), index(index), first_column(low * 256), count(count) {
    const uint32_t blocks = (uint32_t)f.x.columns / 64;
#pragma unroll
    for (int half = 0; half < 2; half++)
      data[half] = (const uint8_t *)batch_rows(f, 0).part_of(half).w.data;
#pragma unroll
    for (int k = 0; k < MOST; k++) {
      const batch_rows rows(f, index + k * BRINGING);
      has[k] = index + k * BRINGING < memory.warps && rows.are_there();
#pragma unroll
      for (int i = 0; i < 8; i++)
        from[k][i] = rows.clamped_row_of(i / 4, i % 4 / 2, lane / 8 + i % 2 * 4) * (blocks * 32) + low * 128 +
                     lane % 8 * 16;
      const int half = lane % 16 / 8;
      block[k] = rows.clamped_row_of(lane / 16, half, lane % 8) * blocks + low * 4;
      scales[k].aim(rows.part_of(half).w, memory.start + (two ? half * 1024 : 0));
    }
  }

  // Groups of 256 columns.
  DEVICE_MEMBER void bring_weights(int group, int stage) const {
    if (count - 4 * group <= lane % 8 / 2)
      return;
#pragma unroll
    for (int k = 0; k < MOST; k++)
      if (has[k]) {
        // Rows of 128 bytes, whose pieces of 16 lie so that lanes that read them meet in no bank.
        const uint32_t to =
            memory.weights(index + k * BRINGING, stage) + lane / 8 * 128 + (lane % 8 ^ lane / 8 * 2) * 16;
#pragma unroll
        for (int i = 0; i < 8; i++)
          copy_16(to + i * 512, data[i % 4 / 2] + group * 128 + from[k][i]);
      }
  }
  DEVICE_MEMBER void bring_x(int group, int stage) const {
    if (lane >= 8 * (count - 4 * group))
      return;
    const bf16 *x = row<bf16>(f.x, index) + first_column + group * 256 + lane * 8;
    uint32_t to = memory.x(stage) + index * X_PITCH + lane * 16;
    for (int r = index; r < (int)f.x.rows;
         r += BRINGING, to += BRINGING * X_PITCH, x += BRINGING * f.x.stride)
      copy_16(to, x);
  }

  DEVICE_MEMBER void ask_for_scales(int group) {
#pragma unroll
    for (int k = 0; k < MOST; k++)
      if (has[k])
        scales[k].load(block[k] + group * 4, count - 4 * group);
  }
  // Those that were asked for.
  DEVICE_MEMBER void write_scales(int stage) const {
    float values[MOST][4];
#pragma unroll
    for (int k = 0; k < MOST; k++)
      if (has[k])
        scales[k].get(values[k]);
#pragma unroll
    for (int k = 0; k < MOST; k++)
      if (has[k]) {
        const uint32_t to = memory.scales(index + k * BRINGING, stage) + lane % 8 * 16 + lane / 8 * 4;
#pragma unroll
        for (int d = 0; d < 4; d++)
          asm volatile("st.shared.f32 [%0], %1;" ::"r"(to + d * 128), "f"(values[k][d]) : "memory");
      }
  }
};

// MARK: Products

template <int NT> struct batch_multiplier {
  static constexpr bool AHEAD = NT == 2; // whether there are registers for x of the next step

  const uint8_t *const shared;
  const uint32_t start; // its address
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t table[2]; // the lane's columns of the tables for rows g and g + 8
  float totals[TILES][NT][4];

  DEVICE_MEMBER batch_multiplier(const uint8_t *shared, uint32_t start, bool two)
      : shared(shared), start(start) {
#pragma unroll
    for (int half = 0; half < 2; half++)
      table[half] = TABLE_BYTES + (two ? half * SECOND_TABLE : 0) + lane * 4;
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
      for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          totals[m][n][i] = 0;
  }

  // The lane's elements of a block, of rows 16 n + g and 16 n + 8 + g.
  DEVICE_MEMBER void load_x(uint32_t from, int n, uint32_t (&b)[2][8]) const {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const auto *at = (const vec<uint32_t, 4> *)(shared + (from - start) + (2 * n + k) * (8 * X_PITCH));
      const auto low = at[0], high = at[1];
#pragma unroll
      for (int i = 0; i < 4; i++)
        b[k][i] = low.at[i], b[k][4 + i] = high.at[i];
    }
  }

  // The lane's words of a block.
  DEVICE_MEMBER void take(uint32_t from, uint32_t (&words)[TILES][2][2]) const {
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        load_shared_8(from + m * SLOT_BYTES + half * 1024, words[m][half]);
  }
  DEVICE_MEMBER void decode(const uint32_t (&words)[TILES][2][2], int s, uint32_t (&a)[TILES][4][4]) const {
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        decode_nf4(words[m][half], s, table[half], a[m][s][half], a[m][s][2 + half]);
  }

  // totals += the products of COUNT blocks. Addresses: the lane's words of the first, its scales, its x. A
  // block is decoded where the one before no longer needs the registers.
  template <int COUNT> DEVICE_MEMBER void multiply(uint32_t weights, uint32_t scales, uint32_t x) {
    constexpr int STEPS = NT / 2; // of a block: 16 rows of x each
    uint32_t words[TILES][2][2], a[TILES][4][4], b[2][2][8];
    take(weights, words);
    load_x(x, 0, b[0]);
#pragma unroll
    for (int s = 0; s < 4; s++)
      decode(words, s, a);
#pragma unroll
    for (int d = 0; d < COUNT; d++) {
      const auto scale = *(const vec<float, 4> *)(shared + (scales - start) + d * 128);
      if (d + 1 < COUNT)
        take(weights ^ (d + 1) * 32, words);
#pragma unroll
      for (int n = 0; n < STEPS; n++) {
        const int step = d * STEPS + n, next = step + 1;
        if (AHEAD && next < COUNT * STEPS)
          load_x(x + next / STEPS * 128, next % STEPS, b[next % 2]);
        else if (!AHEAD && step > 0)
          load_x(x + d * 128, n, b[0]);
        const auto &now = b[AHEAD ? step % 2 : 0];
        float sums[2][TILES][4] = {};
#pragma unroll
        for (int s = 0; s < 4; s++) {
#pragma unroll
          for (int k = 0; k < 2; k++)
#pragma unroll
            for (int m = 0; m < TILES; m++)
              mma(sums[k][m], a[m][s], now[k][2 * s], now[k][2 * s + 1]);
          if (n + 1 == STEPS && d + 1 < COUNT)
            decode(words, s, a);
        }
#pragma unroll
        for (int k = 0; k < 2; k++)
#pragma unroll
          for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
              totals[m][2 * n + k][i] = fmaf(scale.at[2 * m + i / 2], sums[k][m][i], totals[m][2 * n + k][i]);
      }
    }
  }

  // The same of a stage, of which there are `count` blocks.
  DEVICE_MEMBER void multiply(const batch_memory<NT> &memory, int warp, int stage, int count) {
    const uint32_t weights = memory.weights(warp, stage) + g * 128 + g % 4 * 32 + t * 8;
    const uint32_t scales = memory.scales(warp, stage) + g * 16, x = memory.x(stage) + g * X_PITCH + t * 32;
    if (count >= 4)
      return multiply<4>(weights, scales, x);
    for (int d = 0; d < count; d++)
      multiply<1>(weights ^ d * 32, scales + d * 128, x + d * 128);
  }

  // The sums of range `split`.
  DEVICE_MEMBER void store(const few_rows &f, const batch_rows &rows, uint32_t split) const {
    const int64_t columns = f.out.columns * (rows.gated() ? 2 : 1);
    uint32_t column[TILES][2]; // of the lane's rows
    bool is_there[TILES][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const few_rows_part &part = rows.part_of(half);
      const uint32_t first = part.first, count = (uint32_t)part.w.rows;
#pragma unroll
      for (int m = 0; m < TILES; m++) {
        const uint32_t j = rows.row_of(m, half, g);
        column[m][half] = first + j;
        is_there[m][half] = j < count;
      }
    }
    float *to = f.partials + (split * f.x.rows + 2 * t) * columns;
#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (8 * n + 2 * t + i < f.x.rows) {
#pragma unroll
          for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
              if (is_there[m][half])
                to[i * columns + column[m][half]] = totals[m][n][2 * half + i];
        }
      to += 8 * columns;
    }
  }
};

// A thread block for each range of columns of f.tiles times 32 rows of the weight.
template <bool TWICE, int NT> DEVICE void multiply_nf4_batch(const few_rows &f) {
  extern __shared__ __align__(16) uint8_t shared[];
  const batch_memory<NT> memory((uint32_t)__cvta_generic_to_shared(shared));
  constexpr int STAGES = batch_memory<NT>::STAGES;
  const int warp = threadIdx.x / 32;
  const uint32_t split = blockIdx.y;
  const uint32_t blocks = (uint32_t)f.x.columns / 64, groups = (blocks + 3) / 4;
  const uint32_t low = groups * split / f.splits, high = groups * (split + 1) / f.splits;
  const int count = (int)(min(high * 4, blocks) - low * 4), turns = (int)(high - low);

  // As in few_rows_nf4.cu: weights are older than the kernels before, and so is x where there is h.
  let_successor_begin();
  const batch_rows rows(f, warp);
  const weight &first = rows.part_of(0).w, &second = rows.part_of(1).w;
  const bool two = first.code != second.code || first.absmax_map != second.absmax_map;
  if (warp >= memory.warps) {
    const int thread = threadIdx.x - memory.warps * 32;
    copy_map(memory.start, first, thread, BRINGING * 32);
    if (two)
      copy_map(memory.start + 1024, second, thread, BRINGING * 32);
    end_copies();
    bringer<TWICE, NT> b(f, memory, warp - memory.warps, low, count, two);
    b.ask_for_scales(0);
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++)
      b.bring_weights(i, i);
    if (!f.h.data)
      wait_for_predecessors();
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
      b.bring_x(i, i);
      end_copies();
    }
    wait_for_copies<STAGES - 1>();
    asm volatile("bar.sync 1, %0;" ::"n"(BRINGING * 32) : "memory"); // the maps have come
    b.write_scales(0);
    b.ask_for_scales(1);
    for (int i = 0; i < turns; i++) {
      wait_for_copies<STAGES - 2>();
      __syncthreads(); // the stage has come, and the one before is free
      const int next = i + STAGES - 1;
      b.bring_weights(next, next % STAGES);
      b.bring_x(next, next % STAGES);
      end_copies();
      b.write_scales((i + 1) % STAGES);
      b.ask_for_scales(i + 2);
    }
    wait_for_predecessors(); // for the successor's sake
  } else {
    fill_table(shared + (TABLE_BYTES - memory.start), first.code[threadIdx.x % 16], memory.warps * 32);
    if (two)
      fill_table(shared + (TABLE_BYTES + SECOND_TABLE - memory.start), second.code[threadIdx.x % 16],
                 memory.warps * 32);
    if (split == 0)
      rows.prefetch_ups();
    batch_multiplier<NT> m(shared, memory.start, two);
    for (int i = 0; i < turns; i++) {
      __syncthreads();
      if (rows.are_there())
        m.multiply(memory, warp, i % STAGES, count - 4 * i);
    }
    wait_for_predecessors(); // one may still read what was left there before
    if (rows.are_there())
      m.store(f, rows, split);
  }
}

#define NF4_BATCH(NAME, TWICE, NT)                                                                           \
  KERNEL __launch_bounds__(32 * (MULTIPLYING + BRINGING), 1)                                                 \
      few_rows_##NAME##_batch_n##NT(const __grid_constant__ few_rows f) {                                    \
    multiply_nf4_batch<TWICE, NT>(f);                                                                        \
  }
NF4_BATCH(nf4, false, 2)
NF4_BATCH(nf4, false, 4)
NF4_BATCH(nf4, false, 8)
NF4_BATCH(nf4_twice, true, 2)
NF4_BATCH(nf4_twice, true, 4)
NF4_BATCH(nf4_twice, true, 8)

#endif
