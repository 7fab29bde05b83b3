// Attention by tiles, for every device, dtype and head size: FlashAttention-2 (Dao, arXiv:2307.08691),
// forward by algorithm 1. Products are float.
//
// A block of 16 x 16 threads works on a tile of 64 x 64 scores, of which each thread holds 4 x 4: those of
// rows 4 ty.. and columns 4 tx... Sums over a head's columns are held 4 rows by `WIDTH` columns a thread.
#pragma once
#include "common.cuh"

struct segment {
  int32_t q_start, q_count, k_start, k_count;
};

// sw_attention and sw_attention_gradients of attention.h.
struct attention {
  matrix q, k, v, o;
  float *logsumexp;
  const segment *segments;
  int64_t segment_count, head_size;
  int32_t heads, kv_heads;
  double scale;
  int64_t window;
  const int32_t *pages; // the CPU's: kernels here that attend to pages have operands of their own
  int64_t pages_each, page_size;
};
struct gradients {
  matrix d_o, d_q, d_k, d_v;
};

static constexpr int TILE = 64;
static constexpr int LINE =
    TILE + 4;                    // floats of a tile's line in shared memory: 16-byte aligned, banks spread
static constexpr int DEPTH = 32; // columns of a head that a product of rows takes at a time
static constexpr int LINES = 16; // rows that a product of columns takes at a time
static constexpr int THREADS = 256;

// Shared memory of a block.
struct scratch {
  union {
    float columns[2][DEPTH * LINE]; // two operands' columns: [column][row]
    float rows[LINES * 256];        // one operand's rows: [row][column]
  };
  float weights[TILE * LINE]; // a tile of probabilities: [summed over][row]
};

DEVICE float infinity() { return __int_as_float(0x7f800000); }

// Rows [start, start + count) of one head's columns.
template <typename T> struct head_rows {
  typedef T element;
  const T *data;
  int64_t stride;
  int count, columns;
  bool in_vectors; // 8 columns may be loaded at once

  __device__ __forceinline__ const T *at(int row) const { return data + row * stride; }
};

template <typename T>
DEVICE head_rows<T> rows_of(const matrix &m, int64_t start, int count, int64_t head, int64_t head_size) {
  head_rows<T> rows;
  rows.data = (const T *)m.data + start * m.stride + head * head_size;
  rows.stride = m.stride;
  rows.count = count;
  rows.columns = (int)head_size;
  rows.in_vectors = ((uint64_t)rows.data | (uint64_t)(m.stride * sizeof(T))) % 16 == 0 && head_size % 8 == 0;
  return rows;
}

// Eight columns of a row; zeros outside of the matrix.
template <typename Rows> DEVICE void load_8(const Rows &m, int row, int column, float *out) {
  typedef typename Rows::element T;
  static constexpr int N = 16 / sizeof(T);
  if (row >= m.count || column >= m.columns) {
#pragma unroll
    for (int i = 0; i < 8; i++)
      out[i] = 0;
  } else if (m.in_vectors) {
    const T *from = m.at(row) + column;
#pragma unroll
    for (int part = 0; part < 8; part += N) {
      const vec<T, N> loaded = *(const vec<T, N> *)(from + part);
#pragma unroll
      for (int i = 0; i < N; i++)
        out[part + i] = to_float(loaded.at[i]);
    }
  } else {
    const T *from = m.at(row) + column;
#pragma unroll
    for (int i = 0; i < 8; i++)
      out[i] = column + i < m.columns ? to_float(from[i]) : 0;
  }
}

// MARK: Products

// sums = A Bᵀ, both 64 rows of a head.
template <typename A, typename B>
DEVICE void multiply_rows(const A &a, const B &b, scratch &shared, float (&sums)[4][4]) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int row = threadIdx.x % TILE, part = threadIdx.x / TILE * 8;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
      sums[i][j] = 0;
  for (int column = 0; column < a.columns; column += DEPTH) {
    float of_a[8], of_b[8];
    load_8(a, row, column + part, of_a);
    load_8(b, row, column + part, of_b);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++) {
      shared.columns[0][(part + i) * LINE + row] = of_a[i];
      shared.columns[1][(part + i) * LINE + row] = of_b[i];
    }
    __syncthreads();
#pragma unroll 8
    for (int c = 0; c < DEPTH; c++) {
      const vec<float, 4> x = *(const vec<float, 4> *)&shared.columns[0][c * LINE + ty * 4];
      const vec<float, 4> y = *(const vec<float, 4> *)&shared.columns[1][c * LINE + tx * 4];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          sums[i][j] += x.at[i] * y.at[j];
    }
  }
}

// Puts a tile where `accumulate` reads it: the tile's columns are what it sums over.
DEVICE void put_weights(const float (&tile)[4][4], scratch &shared) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  __syncthreads(); // the last product has read its weights
#pragma unroll
  for (int j = 0; j < 4; j++) {
    vec<float, 4> column;
#pragma unroll
    for (int i = 0; i < 4; i++)
      column.at[i] = tile[i][j];
    *(vec<float, 4> *)&shared.weights[(tx * 4 + j) * LINE + ty * 4] = column;
  }
}

// sums += W M: W the weights that were put, M up to 64 rows of a head. Thread (tx, ty) holds rows 4 ty.. and
// columns 4 tx.. of every 64 columns.
template <typename Rows, int WIDTH>
DEVICE void accumulate(const Rows &m, scratch &shared, float (&sums)[4][WIDTH]) {
  static constexpr int COLUMNS = WIDTH * 16;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int first = 0; first < m.count; first += LINES) {
    __syncthreads();
    for (int i = threadIdx.x; i < LINES * COLUMNS / 8; i += THREADS) {
      const int row = i / (COLUMNS / 8), column = i % (COLUMNS / 8) * 8;
      float values[8];
      load_8(m, first + row, column, values);
#pragma unroll
      for (int part = 0; part < 8; part += 4)
        *(vec<float, 4> *)&shared.rows[row * COLUMNS + column + part] =
            vec<float, 4>{values[part], values[part + 1], values[part + 2], values[part + 3]};
    }
    __syncthreads();
#pragma unroll 4
    for (int row = 0; row < LINES; row++) {
      const vec<float, 4> weight = *(const vec<float, 4> *)&shared.weights[(first + row) * LINE + ty * 4];
#pragma unroll
      for (int group = 0; group < WIDTH; group += 4) {
        const vec<float, 4> x = *(const vec<float, 4> *)&shared.rows[row * COLUMNS + group * 16 + tx * 4];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++)
            sums[i][group + j] += weight.at[i] * x.at[j];
      }
    }
  }
}

template <int WIDTH> DEVICE void clear(float (&sums)[4][WIDTH]) {
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < WIDTH; c++)
      sums[i][c] = 0;
}

// Writes factor[row] * sums to `count` rows of a head from `start` on.
template <typename T, int WIDTH>
DEVICE void store(const float (&sums)[4][WIDTH], const float (&factor)[4], const matrix &m, int64_t start,
                  int count, int64_t head, int64_t head_size) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (ty * 4 + i >= count)
      continue;
    T *out = row<T>(m, start + ty * 4 + i) + head * head_size;
#pragma unroll
    for (int c = 0; c < WIDTH; c++) {
      const int column = c / 4 * 64 + tx * 4 + c % 4;
      if (column < head_size)
        out[column] = from_float<T>(sums[i][c] * factor[i]);
    }
  }
}

// MARK: Tiles

// 64 queries, or keys, of one sequence.
struct tile {
  segment of;
  int64_t sequence;
  int start; // in the sequence
  bool exists;
};

// The `index`-th tile of all sequences that have at least `least` rows. Every warp searches for itself.
template <bool OF_KEYS> DEVICE tile find_tile(const attention &a, int64_t index, int least = 1) {
  const int lane = threadIdx.x % 32;
  for (int64_t first = 0; first < a.segment_count; first += 32) {
    segment mine = {0, 0, 0, 0};
    if (first + lane < a.segment_count)
      mine = a.segments[first + lane];
    const int rows = OF_KEYS ? mine.k_count : mine.q_count;
    const int tiles = rows < least ? 0 : (rows + TILE - 1) / TILE;
    int through = tiles; // tiles of the lanes up to this one
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int before = __shfl_up_sync(0xffffffffu, through, offset);
      through += lane >= offset ? before : 0;
    }
    const unsigned past = __ballot_sync(0xffffffffu, index < through);
    if (past) {
      const int owner = __ffs(past) - 1;
      tile found;
      found.start = (int)(index - __shfl_sync(0xffffffffu, through - tiles, owner)) * TILE;
      found.sequence = first + owner;
      found.of.q_start = __shfl_sync(0xffffffffu, mine.q_start, owner);
      found.of.q_count = __shfl_sync(0xffffffffu, mine.q_count, owner);
      found.of.k_start = __shfl_sync(0xffffffffu, mine.k_start, owner);
      found.of.k_count = __shfl_sync(0xffffffffu, mine.k_count, owner);
      found.exists = true;
      return found;
    }
    index -= __shfl_sync(0xffffffffu, through, 31);
  }
  return tile{{0, 0, 0, 0}, 0, 0, false};
}

// The last key that query i of the sequence sees is this far behind i.
DEVICE int diagonal(const segment &s) { return s.k_count - s.q_count; }

DEVICE bool sees(const attention &a, const segment &s, int query, int key) {
  const int last = query + diagonal(s);
  return query < s.q_count && key <= last && (a.window == 0 || key > last - a.window);
}

// The keys [low, high) that the queries from `start` on see, low a multiple of TILE.
struct range {
  int low, high;
};
DEVICE range keys_of(const attention &a, const segment &s, int start) {
  const int end = min(start + TILE, s.q_count) + diagonal(s);
  const int64_t low = a.window == 0 ? 0 : start + diagonal(s) + 1 - a.window;
  return range{low > 0 ? (int)(low / TILE * TILE) : 0, max(end, 0)};
}

// The queries [low, high) that see the keys from `start` on, low a multiple of TILE.
DEVICE range queries_of(const attention &a, const segment &s, int start) {
  const int low = max(start - diagonal(s), 0) / TILE * TILE;
  const int last = min(start + TILE, s.k_count) - 1;
  const int64_t high = a.window == 0 ? s.q_count : last - diagonal(s) + a.window;
  return range{low, (int)(high < s.q_count ? high : s.q_count)};
}

template <typename Op> DEVICE float reduce_row(float value) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2)
    value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// MARK: Forward

// The tile's scores become exp(scale * score - top), what was summed under the old maximum is rescaled.
template <int WIDTH>
DEVICE void soften(const attention &a, const segment &s, int query, int key, float (&scores)[4][4],
                   float (&sums)[4][WIDTH], float (&top)[4], float (&weight)[4]) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float greatest = top[i];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const bool seen = sees(a, s, query + ty * 4 + i, key + tx * 4 + j);
      scores[i][j] = seen ? scores[i][j] * (float)a.scale : -infinity();
      greatest = fmaxf(greatest, scores[i][j]);
    }
    greatest = reduce_row<max_of>(greatest);
    const float base = greatest == -infinity() ? 0 : greatest; // no key seen yet
    const float shrink = expf(top[i] - base);
    float total = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      scores[i][j] = expf(scores[i][j] - base);
      total += scores[i][j];
    }
    top[i] = greatest;
    weight[i] = weight[i] * shrink + reduce_row<sum_of>(total);
#pragma unroll
    for (int c = 0; c < WIDTH; c++)
      sums[i][c] *= shrink;
  }
}

// The keys and values that lie packed as the queries do.
template <typename T> struct packed_keys {
  const attention &a;

  __device__ __forceinline__ head_rows<T> rows(const matrix &m, const tile &t, int key, int count,
                                               int kv) const {
    return rows_of<T>(m, t.of.k_start + key, count, kv, a.head_size);
  }
  __device__ __forceinline__ head_rows<T> k(const tile &t, int key, int count, int kv) const {
    return rows(a.k, t, key, count, kv);
  }
  __device__ __forceinline__ head_rows<T> v(const tile &t, int key, int count, int kv) const {
    return rows(a.v, t, key, count, kv);
  }
};

// A tile of queries of the head blockIdx.y. a.logsumexp may be NULL.
template <typename T, int WIDTH, typename Keys>
DEVICE void attend(const attention &a, const tile &t, const Keys &of, scratch &shared) {
  const segment s = t.of;
  const int head = blockIdx.y, kv = head / (a.heads / a.kv_heads), count = min(TILE, s.q_count - t.start);
  const int64_t D = a.head_size, first_row = s.q_start + t.start;
  const head_rows<T> q = rows_of<T>(a.q, first_row, count, head, D);
  const range keys = keys_of(a, s, t.start);
  float sums[4][WIDTH], top[4], weight[4];
  clear(sums);
#pragma unroll
  for (int i = 0; i < 4; i++)
    top[i] = -infinity(), weight[i] = 0;

  for (int key = keys.low; key < keys.high; key += TILE) {
    const int key_count = min(TILE, s.k_count - key);
    float scores[4][4];
    multiply_rows(q, of.k(t, key, key_count, kv), shared, scores);
    soften(a, s, t.start, key, scores, sums, top, weight);
    put_weights(scores, shared);
    accumulate(of.v(t, key, key_count, kv), shared, sums);
  }

  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float inverse[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    inverse[i] = weight[i] > 0 ? 1 / weight[i] : 0; // a query that sees no key gets zeros
    if (a.logsumexp && tx == 0 && ty * 4 + i < count)
      a.logsumexp[(first_row + ty * 4 + i) * a.heads + head] = top[i] + logf(weight[i]);
  }
  store<T>(sums, inverse, a.o, first_row, count, head, D);
}
