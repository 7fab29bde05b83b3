// Layers for few rows (FewRows.swift) on tensor cores: bfloat16 rows of x, at most 64, with weights that are
// read once, from memory to registers.
//
// A warp multiplies 16 or 32 rows of the weight by all rows of x, which are the columns of its products
// (mma.m16n8k16). The weight's columns come in blocks of 64, a group of WIDTH blocks at a time. Lane (g, t) =
// (lane / 4, lane % 4) holds the 16 elements from 16 t on of a block of rows g and g + 8: any order within a
// block serves, as long as both operands have the same, and so each lane reads what lies together. Its scale
// applies to a block's sums at once.
//
// The warps of a block take the groups of the same rows in turn; their sums are added up in shared memory,
// in order. With few rows, several blocks have a range of the groups each, and the last that arrives adds up
// their sums, in order. Blocks stay and take tile after tile: the next group is on its way from memory while
// one is multiplied. No sum depends on how many rows x has.
#pragma once
#include "few_rows_formats.cuh"

#if __CUDA_ARCH__ >= 800

// MARK: Work

// A range of the groups of a tile of weight rows.
struct work {
  int part, tile, split;
  int row;       // the tile's first
  int low, high; // groups
};

template <int F, int MT, int NT> struct multiplier {
  static constexpr int WORDS = format_traits<F>::WORDS, WIDTH = group_width<F, MT>(), ROWS = 16 * MT;
  static constexpr bool NF4 = format_traits<F>::NF4, X_AHEAD = MT * NT <= 2;
  static constexpr bool STAGED = NF4 && WIDE_TABLE; // weights come to shared memory first
  static constexpr int LINE = ROWS + 4;             // floats between columns of the sums: banks spread
  static constexpr int TURNS = NT <= (NF4 ? 1 : 2) ? 2 : 1; // tiles whose sums shared memory holds

  const few_rows &f;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int blocks, groups;
  const int workers; // warps that have groups: no range has fewer
  const bf16 *x[NT]; // the lane's elements of its rows
  const uint8_t
      *at[MT][2]; // of the weight's rows that come next; if staged: of row lane / 2 of each 16, 16 bytes
  uint32_t raw[STAGED ? 1 : WIDTH][MT][2][WORDS];
  uint32_t stage;         // where the lane's words of a staged group come to
  group_scales<F> coming; // of row t of the lane's 2 MT
  int coming_blocks;      // of NF4's group that comes
  float totals[MT][NT][4];
  uint32_t table[MT]; // the lane's columns of the tables
  float *map;         // the scales' of each table, then of the lane's

  DEVICE_MEMBER multiplier(const few_rows &f)
      : f(f), blocks((int)(f.x.columns / 64)), groups((blocks + WIDTH - 1) / WIDTH),
        workers(min(warps, groups / f.splits)) {}

  DEVICE_MEMBER bool gated() const { return MT == 2 && f.activation != ACT_NONE; }

  // The rows of x to shared memory, on their way. They lie so that 8 lanes meet in no bank.
  DEVICE_MEMBER int pitch_of_x() const { return blocks * 128 + 16; }
  DEVICE_MEMBER void copy_x(uint8_t *to) const {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    for (int r = 0; r < (int)f.x.rows; r++)
      for (int i = threadIdx.x; i < blocks * 8; i += blockDim.x)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at + r * pitch_of_x() + i * 16),
                     "l"(row<bf16>(f.x, r) + i * 8)
                     : "memory");
  }
  // `copy`: x in shared memory, or NULL.
  DEVICE_MEMBER void find_x(const uint8_t *copy) {
#pragma unroll
    for (int n = 0; n < NT; n++) // columns past the last row repeat it, and are not stored
    {
      const int r = min(8 * n + g, (int)f.x.rows - 1);
      x[n] = (copy ? (const bf16 *)(copy + r * pitch_of_x()) : row<bf16>(f.x, r)) + 16 * t;
      asm volatile("" : "+l"(x[n])); // kept rather than computed again
    }
  }

  DEVICE_MEMBER work work_of(int index) const {
    work w;
    w.tile = index / f.splits;
    w.split = index % f.splits;
    w.low = groups * w.split / f.splits;
    w.high = groups * (w.split + 1) / f.splits;
    w.part = 0;
    int tile = w.tile;
    const int height = gated() ? 16 : ROWS;
    if (!gated()) {
      for (;; w.part++) {
        const int tiles = ((int)f.part[w.part].w.rows + height - 1) / height;
        if (tile < tiles)
          break;
        tile -= tiles;
      }
    }
    w.row = tile * height;
    return w;
  }

  // Row g + 8 half of the work's m-th 16, or the weight's last one.
  DEVICE_MEMBER int part_of(const work &w, int m) const { return gated() ? m : w.part; }
  DEVICE_MEMBER int row_of(const work &w, int m, int half) const {
    const int row = w.row + (gated() ? 0 : 16 * m) + g + 8 * half;
    return min(row, (int)f.part[part_of(w, m)].w.rows - 1);
  }

  // What is loaded next is of this work.
  DEVICE_MEMBER void aim(const work &w) {
#pragma unroll
    for (int m = 0; m < MT; m++) {
      const few_rows_part &part = f.part[part_of(w, m)];
      if (STAGED) {
        const int row = min(w.row + (gated() ? 0 : 16 * m) + lane / 2, (int)part.w.rows - 1);
        at[m][0] = (const uint8_t *)part.w.data + (int64_t)row * blocks * (16 * WORDS) + lane % 2 * 16;
      } else {
#pragma unroll
        for (int half = 0; half < 2; half++)
          at[m][half] = (const uint8_t *)part.w.data + (int64_t)row_of(w, m, half) * blocks * (16 * WORDS) +
                        t * (4 * WORDS);
      }
    }
    if (NF4) {
      const int mine = t % (2 * MT);
      coming.aim(f.part[part_of(w, mine / 2)].w, row_of(w, mine / 2, mine % 2), blocks);
    }
  }

  // NF4's next group, `step` groups on, on its way: its scales, then each of its blocks.
  DEVICE_MEMBER void find_group(int group, int step, bool exists) {
    coming_blocks = exists ? min(4, blocks - group * 4) : 0;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int half = 0; half < (STAGED ? 1 : 2); half++)
        at[m][half] += (uint32_t)step * (64 * WORDS);
    if (exists)
      coming.load(group * 4, coming_blocks, blocks % 4 == 0);
  }
  DEVICE_MEMBER void load_found(int d) {
    if (d < coming_blocks) {
#pragma unroll
      for (int m = 0; m < MT; m++) {
        if (STAGED) {
          copy_once_16(stage_at(d, m, lane * 16), at[m][0] + d * (16 * WORDS));
        } else {
#pragma unroll
          for (int half = 0; half < 2; half++)
            load_words(at[m][half] + d * (16 * WORDS), raw[STAGED ? 0 : d][m][half]);
        }
      }
    }
    if (STAGED)
      asm volatile("cp.async.commit_group;" ::: "memory");
  }
  // A warp's stage: of each block of the group 16 MT rows of 32 bytes.
  DEVICE_MEMBER uint32_t stage_at(int d, int m, int offset) const {
    return stage + (d * MT + m) * 512 + offset;
  }
  // Takes block d of the group that has come out of the stage.
  DEVICE_MEMBER void unstage(int d) {
    if constexpr (STAGED) {
      asm volatile("cp.async.wait_group 3;" ::: "memory"); // all but the three blocks after it
      __syncwarp();
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          load_shared_8(stage_at(d, m, half * 256 + lane * 8), raw[0][m][half]);
      __syncwarp();
    }
  }

  DEVICE_MEMBER void load(int group, int d) {
    const int block = group * WIDTH + d;
    if (block >= blocks)
      return;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        load_words(at[m][half] + (int64_t)block * (16 * WORDS), raw[STAGED ? 0 : d][m][half]);
  }
  DEVICE_MEMBER void load(int group) {
#pragma unroll
    for (int d = 0; d < WIDTH; d++)
      load(group, d);
  }

  // Brings to the L2 cache what `load` will load.
  DEVICE_MEMBER void prefetch(int group) const {
#pragma unroll
    for (int d = 0; d < WIDTH; d++)
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          if (group * WIDTH + d < blocks)
            prefetch_line(at[m][half] + (int64_t)(group * WIDTH + d) * (16 * WORDS));
  }
  // The same for the adapters' rows of a tile.
  DEVICE_MEMBER void prefetch_ups(const work &w) const {
    const int r = threadIdx.x;
    if (r >= ROWS)
      return;
    const few_rows_part &part = f.part[part_of(w, r / 16)];
    const int row = w.row + (gated() ? r % 16 : r);
    if (part.up && row < part.w.rows)
      for (int i = 0; i < part.rank; i += 32)
        prefetch_line(part.up + (int64_t)row * part.rank + i);
  }
  DEVICE_MEMBER void load_x(int n, int block, uint32_t (&b)[8]) const {
    load_x_from(x[n] + min(block, blocks - 1) * 64, b);
  }
  DEVICE_MEMBER void load_x_from(const bf16 *columns, uint32_t (&b)[8]) const {
    const auto *from = (const vec<uint32_t, 4> *)columns;
    const auto low = from[0], high = from[1];
#pragma unroll
    for (int i = 0; i < 4; i++)
      b[i] = low.at[i], b[4 + i] = high.at[i];
  }

  // totals += block d of the group that has come, `b` the same columns of x.
  DEVICE_MEMBER void multiply(int block, int d, float scale, uint32_t (&b)[NT][8]) {
    uint32_t a[4][MT][4];
    float scales[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (NF4)
          scales[m][half] = __shfl_sync(0xffffffffu, scale, 2 * m + half, 4);
#pragma unroll
        for (int s = 0; s < 4; s++)
          decode<F>(raw[STAGED ? 0 : d][m][half], s, table[m], a[s][m][half], a[s][m][2 + half]);
      }
    }
#pragma unroll
    for (int n = 0; n < NT; n++) {
      if (!X_AHEAD)
        load_x(n, block, b[n]);
#pragma unroll
      for (int m = 0; m < MT; m++) {
        float sums[4] = {};
#pragma unroll
        for (int s = 0; s < 4; s++)
          mma(NF4 ? sums : totals[m][n], a[s][m], b[n][2 * s], b[n][2 * s + 1]);
        if (NF4) {
#pragma unroll
          for (int i = 0; i < 4; i++)
            totals[m][n][i] = fmaf(scales[m][i / 2], sums[i], totals[m][n][i]);
        }
      }
    }
  }

  DEVICE_MEMBER void clear_totals() {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          totals[m][n][i] = 0;
  }

  // `sum_up` for NF4, whose groups have four blocks: where the last has fewer, the scales of the others are
  // 0.
  DEVICE_MEMBER void sum_up_nf4(const work &now, const work &next, bool has_next, uint32_t (&b)[NT][8]) {
    clear_totals();
    if (warp >= workers)
      return;
    for (int group = now.low + warp; group < now.high; group += workers) {
      const int count = coming_blocks, last = 64 * (count - 1);
      float scale[4];
#pragma unroll
      for (int d = 0; d < 4; d++)
        scale[d] = d < count ? coming.of(map, d) : 0;
      int then = group + workers, step = workers;
      bool more = then < now.high;
      if (!more && has_next) {
        aim(next);
        step = then = next.low + warp;
        more = true;
      }
      find_group(then, step, more);
#pragma unroll
      for (int d = 0; d < 4; d++) {
        uint32_t ahead[NT][8];
        if (X_AHEAD) {
#pragma unroll
          for (int n = 0; n < NT; n++)
            load_x_from(d < 3 ? x[n] + group * 256 + (uint32_t)min(64 * (d + 1), last)
                              : x[n] + (more ? then : group) * 256,
                        ahead[n]);
        }
        unstage(d);
        if (STAGED)
          load_found(d);
        multiply(group * 4 + d, d, scale[d], b);
        if (!STAGED)
          load_found(d);
        if (X_AHEAD) {
#pragma unroll
          for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 8; i++)
              b[n][i] = ahead[n][i];
        }
      }
    }
  }

  // The warp's groups of `now`, while those of `next`, if there is such, come.
  DEVICE_MEMBER void sum_up(const work &now, const work &next, bool has_next, uint32_t (&b)[NT][8]) {
    clear_totals();
    for (int group = now.low + warp; group < now.high; group += warps) {
      int then = group + warps;
      bool more = then < now.high;
      if (!more && has_next) {
        aim(next);
        then = next.low + warp;
        more = true;
      }
#pragma unroll
      for (int d = 0; d < WIDTH; d++) {
        const int block = group * WIDTH + d;
        uint32_t ahead[NT][8];
        if (X_AHEAD) {
#pragma unroll
          for (int n = 0; n < NT; n++)
            load_x(n, d + 1 < WIDTH ? block + 1 : more ? then * WIDTH : 0, ahead[n]);
        }
        if (block < blocks)
          multiply(block, d, 1, b);
        if (more)
          load(then, d);
        if (X_AHEAD) {
#pragma unroll
          for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 8; i++)
              b[n][i] = ahead[n][i];
        }
      }
    }
  }

  // MARK: Sums of the warps

  DEVICE_MEMBER void store(const work &now, float *sums) const {
    if (warp >= workers)
      return;
    float *mine = sums + warp * (int)f.x.rows * LINE;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int r = 16 * m + g + i / 2 * 8;
        float factor = 1;
        if (F == F_INT8)
          factor = f.part[part_of(now, m)].w.row_scale[row_of(now, m, i / 2)] * (1.0f / 127.0f);
#pragma unroll
        for (int n = 0; n < NT; n++) {
          const int c = 8 * n + 2 * t + i % 2;
          if (c < f.x.rows)
            mine[c * LINE + r] = totals[m][n][i] * factor;
        }
      }
  }

  DEVICE_MEMBER float sum(const float *sums, int c, int r) const {
    float value = 0;
#pragma unroll 4
    for (int w = 0; w < workers; w++)
      value += sums[(w * (int)f.x.rows + c) * LINE + r];
    return value;
  }

  // The sums of all ranges, at (c, r) of the tile.
  DEVICE_MEMBER float total(const work &now, int c, int r) const {
    const int stride = (int)f.x.rows * ROWS;
    const float *from = f.partials + (int64_t)now.tile * f.splits * stride + c * ROWS + r;
    float value = 0;
#pragma unroll 8
    for (int s = 0; s < f.splits; s++)
      value += __ldcg(from + (int64_t)s * stride);
    return value;
  }

  // Whether this block is the last of its tile's to bring its sums.
  DEVICE_MEMBER bool bring(const work &now, const float *sums) const {
    const int count = (int)f.x.rows * ROWS;
    float *to = f.partials + ((int64_t)now.tile * f.splits + now.split) * count;
    for (int i = threadIdx.x; i < count; i += blockDim.x)
      to[i] = sum(sums, i / ROWS, i % ROWS);
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
      is_last = atomicInc(f.arrivals + now.tile, f.splits - 1) == f.splits - 1;
    __syncthreads();
    __threadfence();
    return is_last;
  }

  DEVICE_MEMBER void finish_tile(const work &now, const float *sums) const {
    const bool whole = f.splits == 1;
    if (!whole && !bring(now, sums))
      return;
    const int height = gated() ? 16 : ROWS, count = height * (int)f.x.rows;
    // The last warp, which may have no groups, first.
    for (int i = (threadIdx.x + 32) % blockDim.x; i < count; i += blockDim.x) {
      const int c = i / height, r = i % height, j = now.row + r;
      if (j >= f.part[now.part].w.rows)
        continue;
      const float value = whole ? sum(sums, c, r) : total(now, c, r);
      if (gated())
        finish_gated<bf16>(f, c, j, value, whole ? sum(sums, c, 16 + r) : total(now, c, 16 + r));
      else
        finish<bf16>(f, f.part[now.part], c, j, value);
    }
  }
};

// Shared memory: the maps of NF4's scales, then the warps' stages, if there are, and at a multiple of its
// size NF4's table, or two with an activation; then the warps' sums of one or two tiles and a copy of x.
// Where there are no stages, small sums lie in their place. (The host knows this layout: FewRowsLaunch.)
template <int F, int MT, int NT> DEVICE void multiply_few_rows(const few_rows &f) {
  typedef multiplier<F, MT, NT> multiplier;
  extern __shared__ __align__(16) uint8_t shared[];
  multiplier m(f);
  const int sums_size = m.warps * (int)f.x.rows * multiplier::LINE;
  const int sums_bytes = multiplier::TURNS * sums_size * 4;
  uint8_t *tables = shared;
  float *sums = (float *)shared;
  uint8_t *copy = shared + sums_bytes;
  if (multiplier::NF4) {
    const uint32_t start = (uint32_t)__cvta_generic_to_shared(shared);
    const uint32_t aligned = (start + TABLE_BYTES - 1) & ~(TABLE_BYTES - 1);
    tables += aligned - start;
    copy = tables + (!WIDE_TABLE && m.gated() ? 2 : 1) * TABLE_BYTES;
    if (!WIDE_TABLE && sums_bytes <= 28 << 10) {
      sums = (float *)shared + 512;
    } else {
      sums = (float *)copy;
      copy += sums_bytes;
    }
    m.stage = start + 2048 + m.warp * (multiplier::ROWS * 128);
    m.map = (float *)shared + (m.gated() ? m.t / 2 * 256 : 0);
#pragma unroll
    for (int i = 0; i < MT; i++) {
      m.table[i] = aligned + (m.gated() ? i * SECOND_TABLE : 0) + m.lane * 4;
      asm volatile("" : "+r"(m.table[i])); // kept rather than computed again
    }
  }
  float *const maps = (float *)shared;
  if (!f.copies_x)
    copy = nullptr;

  const int items = f.tiles * f.splits;
  int index = blockIdx.x;
  work now = m.work_of(index);
  m.aim(now);
  const int first = now.low + m.warp; // no range has fewer groups than there are workers
  const bool works = m.warp < m.workers;
  // Weights are older than the kernels before, but those in floats may be trained: they only come nearer
  // until then.
  let_successor_begin();
  if (F == F_F32) {
    if (works)
      m.prefetch(first);
  } else if (multiplier::NF4) {
    m.find_group(first, first, works);
#pragma unroll
    for (int d = 0; d < multiplier::WIDTH; d++)
      m.load_found(d);
  } else if (works) {
    m.load(first);
  }
  if (multiplier::NF4) {
    fill_table(tables, maps, f.part[now.part].w);
    if (m.gated())
      fill_table(tables + SECOND_TABLE, maps + 256, f.part[1].w);
  }
  m.prefetch_ups(now);
  wait_for_predecessors();
  if (F == F_F32 && works)
    m.load(first);
  if (copy) {
    m.copy_x(copy);
    asm volatile("cp.async.wait_all;" ::: "memory");
  }
  m.find_x(copy);
  __syncthreads();
  uint32_t b[NT][8];
  if (multiplier::X_AHEAD) {
#pragma unroll
    for (int n = 0; n < NT; n++)
      m.load_x(n, first * multiplier::WIDTH, b[n]);
  }
  for (int turn = 0;; turn = (turn + 1) % multiplier::TURNS) {
    const int following = index + gridDim.x;
    const bool more = following < items;
    const work next = m.work_of(more ? following : index);
    if constexpr (multiplier::NF4)
      m.sum_up_nf4(now, next, more, b);
    else
      m.sum_up(now, next, more, b);
    m.store(now, sums + turn * sums_size);
    __syncthreads(); // also: what was read of the other half's sums before is read
    m.finish_tile(now, sums + turn * sums_size);
    if (!more)
      return;
    const bool refill = multiplier::NF4 && next.part != now.part;
    if (refill || multiplier::TURNS == 1)
      __syncthreads();
    if (refill) {
      fill_table(tables, maps, f.part[next.part].w);
      __syncthreads();
    }
    index = following;
    now = next;
    m.prefetch_ups(now);
  }
}

#define FEW_ROWS(NAME, F, MT, NT)                                                                            \
  KERNEL __launch_bounds__(format_traits<F>::NF4 ? NF4_THREADS : 256,                                        \
                           NT <= 2 && (!format_traits<F>::NF4 || !WIDE_TABLE) ? 2 : 1)                       \
      few_rows_##NAME##_m##MT##_n##NT(const __grid_constant__ few_rows f) {                                  \
    multiply_few_rows<F, MT, NT>(f);                                                                         \
  }
#define FEW_ROWS_TALL(NAME, F)                                                                               \
  FEW_ROWS(NAME, F, 2, 1)                                                                                    \
  FEW_ROWS(NAME, F, 2, 2)                                                                                    \
  FEW_ROWS(NAME, F, 2, 4)
#define FEW_ROWS_OF(NAME, F)                                                                                 \
  FEW_ROWS(NAME, F, 1, 1)                                                                                    \
  FEW_ROWS(NAME, F, 1, 2)                                                                                    \
  FEW_ROWS(NAME, F, 1, 4)                                                                                    \
  FEW_ROWS(NAME, F, 1, 8)                                                                                    \
  FEW_ROWS_TALL(NAME, F)                                                                                     \
  FEW_ROWS(NAME, F, 2, 8)

#else
#define FEW_ROWS_OF(NAME, F)
#define FEW_ROWS_TALL(NAME, F)
#endif
