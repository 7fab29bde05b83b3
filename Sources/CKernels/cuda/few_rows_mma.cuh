// Layers for few rows (FewRows.swift) on tensor cores: bfloat16 rows of x, at most 64, with weights that are
// read once, from memory to registers.
//
// A warp multiplies 16 or 32 rows of the weight by all rows of x, which are the columns of its products
// (mma.m16n8k16). The weight's columns come in blocks of 64, a group of WIDTH blocks at a time. Lane (g, t) =
// (lane / 4, lane % 4) holds the 16 elements from 16 t on of a block of rows g and g + 8: any order within a
// block serves, as long as both operands have the same, and so each lane reads what lies together.
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
  static constexpr bool X_AHEAD = MT * NT <= 2;
  static constexpr int LINE = ROWS + 4;         // floats between columns of the sums: banks spread
  static constexpr int TURNS = NT <= 2 ? 2 : 1; // tiles whose sums shared memory holds

  const few_rows &f;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int blocks, groups;
  const bf16 *x[NT];        // the lane's elements of its rows
  const uint8_t *at[MT][2]; // of the weight's rows that come next
  uint32_t raw[WIDTH][MT][2][WORDS];
  float totals[MT][NT][4];

  DEVICE_MEMBER multiplier(const few_rows &f)
      : f(f), blocks((int)(f.x.columns / 64)), groups((blocks + WIDTH - 1) / WIDTH) {}

  DEVICE_MEMBER bool gated() const { return MT == 2 && f.activation != ACT_NONE; }

  DEVICE_MEMBER void find_x() {
#pragma unroll
    for (int n = 0; n < NT; n++) // columns past the last row repeat it, and are not stored
    {
      x[n] = row<bf16>(f.x, min(8 * n + g, (int)f.x.rows - 1)) + 16 * t;
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
#pragma unroll
      for (int half = 0; half < 2; half++)
        at[m][half] = (const uint8_t *)part.w.data + (int64_t)row_of(w, m, half) * blocks * (16 * WORDS) +
                      t * (4 * WORDS);
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
        load_words(at[m][half] + (int64_t)block * (16 * WORDS), raw[d][m][half]);
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
    const auto *from = (const vec<uint32_t, 4> *)(x[n] + min(block, blocks - 1) * 64);
    const auto low = from[0], high = from[1];
#pragma unroll
    for (int i = 0; i < 4; i++)
      b[i] = low.at[i], b[4 + i] = high.at[i];
  }

  // totals += block d of the group that has come, `b` the same columns of x.
  DEVICE_MEMBER void multiply(int block, int d, uint32_t (&b)[NT][8]) {
    uint32_t a[4][MT][4];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int half = 0; half < 2; half++)
#pragma unroll
        for (int s = 0; s < 4; s++)
          decode<F>(raw[d][m][half], s, a[s][m][half], a[s][m][2 + half]);
#pragma unroll
    for (int n = 0; n < NT; n++) {
      if (!X_AHEAD)
        load_x(n, block, b[n]);
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int s = 0; s < 4; s++)
          mma(totals[m][n], a[s][m], b[n][2 * s], b[n][2 * s + 1]);
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
          multiply(block, d, b);
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
    for (int w = 0; w < warps; w++)
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
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
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

// Shared memory: the warps' sums of one or two tiles. (The host knows this: FewRowsLaunch.)
template <int F, int MT, int NT> DEVICE void multiply_few_rows(const few_rows &f) {
  typedef multiplier<F, MT, NT> multiplier;
  extern __shared__ __align__(16) float sums[];
  multiplier m(f);
  const int sums_size = m.warps * (int)f.x.rows * multiplier::LINE;
  const int items = f.tiles * f.splits;
  int index = blockIdx.x;
  work now = m.work_of(index);
  m.aim(now);
  const int first = now.low + m.warp; // no range has fewer groups than there are warps
  // Weights are older than the kernels before, but those in floats may be trained: they only come nearer
  // until then. What these give may be the next kernel's h, which is to begin when x has come
  // (few_rows_nf4.cu).
  if (F == F_F32) {
    m.prefetch(first);
    wait_for_predecessors();
    let_successor_begin();
    m.load(first);
  } else {
    let_successor_begin();
    m.load(first);
    m.prefetch_ups(now);
    wait_for_predecessors();
  }
  m.find_x();
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
    m.sum_up(now, next, more, b);
    m.store(now, sums + turn * sums_size);
    __syncthreads(); // also: what was read of the other half's sums before is read
    m.finish_tile(now, sums + turn * sums_size);
    if (!more)
      return;
    if (multiplier::TURNS == 1)
      __syncthreads();
    index = following;
    now = next;
    m.prefetch_ups(now);
  }
}

#define FEW_ROWS(NAME, F, MT, NT)                                                                            \
  KERNEL __launch_bounds__(256, NT <= 2 ? 2 : 1)                                                             \
      few_rows_##NAME##_m##MT##_n##NT(const __grid_constant__ few_rows f) {                                  \
    multiply_few_rows<F, MT, NT>(f);                                                                         \
  }
#define FEW_ROWS_OF(NAME, F)                                                                                 \
  FEW_ROWS(NAME, F, 1, 1)                                                                                    \
  FEW_ROWS(NAME, F, 1, 2)                                                                                    \
  FEW_ROWS(NAME, F, 1, 4)                                                                                    \
  FEW_ROWS(NAME, F, 1, 8)                                                                                    \
  FEW_ROWS(NAME, F, 2, 1)                                                                                    \
  FEW_ROWS(NAME, F, 2, 2)                                                                                    \
  FEW_ROWS(NAME, F, 2, 4)                                                                                    \
  FEW_ROWS(NAME, F, 2, 8)

#else
#define FEW_ROWS_OF(NAME, F)
#endif
