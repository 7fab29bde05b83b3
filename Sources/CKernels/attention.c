#include "include/attention.h"
#ifndef SW_BODY
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include <string.h>

// Queries and keys of one tile.
enum { TILE = 64 };

// By how much a score may exceed what exponentials are relative to.
enum { SLACK = 8 };

SW_INLINE int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
SW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
SW_INLINE int64_t tiles(int64_t rows) { return (rows + TILE - 1) / TILE; }

// The best micro-kernel whose padding of k leaves heads as they are: their rows are read in place.
static sw_microkernel kernel_for(const sw_attention *a) {
  const sw_microkernel best = sw_microkernel_for(a->q.dtype, sw_gemm_isa(a->q.dtype));
  if (a->head_size % best.k_multiple == 0)
    return best;
  return sw_microkernel_for(a->q.dtype, SW_ISA_AVX512_BF16);
}

SW_INLINE int64_t packed_size(const sw_microkernel *kernel) {
  return kernel->packed == SW_F64 ? 8 : kernel->packed == SW_F32 ? 4 : 2;
}

// Rows [start, start + rows) and the columns of head `head` of a (T, heads * head_size) matrix.
static sw_matrix head_rows(sw_matrix m, int64_t head, int64_t head_size, int64_t start, int64_t rows) {
  const int64_t size = m.dtype == SW_F64 ? 8 : m.dtype == SW_F32 ? 4 : 2;
  m.data = (char *)m.data + (start * m.stride + head * head_size) * size;
  m.rows = rows;
  m.columns = head_size;
  return m;
}

// Keys or values [key, key + keys) of a segment, the columns of one head: where they lie, or copied from
// their pages to `room`.
static sw_matrix key_rows(const sw_attention *a, sw_matrix m, const sw_segment *s, int64_t head, int64_t key,
                          int64_t keys, char *room) {
  if (!a->pages)
    return head_rows(m, head, a->head_size, s->k_start + key, keys);
  const int64_t D = a->head_size, size = m.dtype == SW_F64 ? 8 : m.dtype == SW_F32 ? 4 : 2;
  const int32_t *pages = a->pages + (s - a->segments) * a->pages_each;
  for (int64_t j = 0; j < keys; j++) {
    const int64_t page = pages[(key + j) / a->page_size], place = (key + j) % a->page_size;
    memcpy(room + j * D * size,
           (const char *)m.data + (page * m.stride + (place * a->kv_heads + head) * D) * size,
           (size_t)(D * size));
  }
  return (sw_matrix){room, keys, D, D, m.dtype};
}

// Panels of B(k, n) with k = `depth` padded: the rows of m as columns (SW_B_MATRIX_ROWS) or as they lie.
static void pack(const sw_microkernel *kernel, sw_matrix m, sw_b_kind kind, int64_t depth, void *out,
                 void *scratch) {
  const int rows_are_columns = kind == SW_B_MATRIX_ROWS;
  const sw_term term = {.b_kind = kind, .b = m, .scale = 1};
  const sw_k_range k = {0, rows_are_columns ? m.columns : m.rows, depth};
  sw_pack_b(&term, kernel->packed, k, 0, rows_are_columns ? m.rows : m.columns, out,
            depth * SW_PANEL * packed_size(kernel), scratch);
}

// sums (m, n) = (accumulate ? sums : 0) + A (m, depth) * B, B packed; n is rounded up to whole panels.
static void multiply(const sw_microkernel *kernel, int64_t depth, const void *a, int64_t lda, int64_t m,
                     int64_t n, const char *panels, void *sums, int64_t sums_stride, int accumulate) {
  const int64_t panel_bytes = depth * SW_PANEL * packed_size(kernel), count = (n + SW_PANEL - 1) / SW_PANEL;
  const int64_t sum_size = kernel->packed == SW_F64 ? 8 : 4;
  const int64_t a_size = kernel->a_size;
  for (int64_t p = 0; p < count; p += kernel->panels)
    for (int64_t i = 0; i < m; i += kernel->rows) {
      const sw_stretch all = {.k = depth,
                              .a = (const char *)a + i * lda * a_size,
                              .lda = lda,
                              .b = panels + p * panel_bytes,
                              .panel_bytes = panel_bytes};
      kernel->run(&all, 1, (int)least(kernel->rows, m - i), (int)least(kernel->panels, count - p),
                  (char *)sums + (i * sums_stride + p * SW_PANEL) * sum_size, sums_stride, accumulate);
    }
}

// The keys [low, high) that query i of the segment sees.
typedef struct {
  int64_t low, high;
} visible;

SW_INLINE visible keys_of(const sw_attention *a, const sw_segment *s, int64_t i) {
  const int64_t high = s->k_count - s->q_count + i + 1;
  return (visible){a->window > 0 ? most(0, high - a->window) : 0, most(0, high)};
}

// Takes `bytes` from the front of a thread's scratch.
SW_INLINE void *take(char **scratch, int64_t bytes) {
  void *taken = *scratch;
  *scratch += round_up(bytes, 64);
  return taken;
}

typedef struct {
  const sw_segment *segment;
  int64_t head, block;
} forward_task;

static forward_task find_forward_task(const sw_attention *a, int64_t task) {
  const sw_segment *s = a->segments;
  while (task >= tiles(s->q_count) * a->kv_heads)
    task -= tiles((s++)->q_count) * a->kv_heads;
  return (forward_task){s, task / tiles(s->q_count), task % tiles(s->q_count)};
}

int64_t sw_attention_tasks(const sw_attention *a) {
  int64_t count = 0;
  for (int64_t i = 0; i < a->segment_count; i++)
    count += tiles(a->segments[i].q_count) * a->kv_heads;
  return count;
}

int64_t sw_attention_backward_tasks(const sw_attention *a) { return a->segment_count * a->kv_heads; }

#define SW_TEMPLATE "attention.c"
#include "each_dtype.h"

void sw_attention_forward(const sw_attention *a, int64_t task, void *scratch) {
  SW_DISPATCH(a->q.dtype, attention_forward, a, task, scratch);
}

void sw_attention_backward(const sw_attention *a, const sw_attention_gradients *g, int64_t task,
                           void *scratch) {
  SW_DISPATCH(a->q.dtype, attention_backward, a, g, task, scratch);
}

// Sizes are those of the widest types; the bodies take less for the narrower.
int64_t sw_attention_scratch_bytes(const sw_attention *a) {
  const int64_t group = a->heads / a->kv_heads, width = round_up(a->head_size, SW_PANEL);
  return 8 * (3 * TILE * width + group * TILE * (width + 2) + 2 * TILE * TILE) + sw_pack_scratch_bytes() +
         1024;
}

int64_t sw_attention_backward_scratch_bytes(const sw_attention *a, int64_t longest) {
  const int64_t width = round_up(a->head_size, SW_PANEL), keys = round_up(longest, TILE);
  return 8 * (3 * keys * width + 6 * TILE * width + 6 * TILE * TILE + 2 * TILE) + sw_pack_scratch_bytes() +
         2048;
}

#else

// MARK: Forward

// The state of up to 64 queries of one head while it walks the keys.
typedef struct {
  real *sums;   // (TILE, width): sum of exp(score - top) * v
  real *top;    // (TILE): near the greatest score so far
  real *weight; // (TILE): sum of exp(score - top)
} TYPED(rows_state);

// The greatest of a tile's row, in lanes: the compiler takes no maximum apart by itself. A NaN may be passed
// over: it reaches the sums through its exponential.
SW_INLINE real TYPED(greatest)(const real *scores) {
  enum { LANES = 16 };
  real lanes[LANES];
  for (int i = 0; i < LANES; i++)
    lanes[i] = scores[i];
  for (int j = LANES; j < TILE; j += LANES)
    for (int i = 0; i < LANES; i++)
      lanes[i] = scores[j + i] > lanes[i] ? scores[j + i] : lanes[i];
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++)
      lanes[i] = lanes[i + width] > lanes[i] ? lanes[i + width] : lanes[i];
  return lanes[0];
}

// p = exp(scale * score - top) over a tile's row; returns the sum.
SW_INLINE real TYPED(exponentials)(const real *scores, real scale, real top, stored *p) {
  SW_SUM_IN_LANES
  real total = 0;
  SW_VECTOR
  for (int64_t j = 0; j < TILE; j++) {
    const real value = sw_exp(scores[j] * scale - top);
    total += value;
    sw_store(&p[j], value);
  }
  return total;
}

// p = exp(scale * score - top) for the visible of the keys [key, key + TILE), zero for others. `top` need not
// be the greatest score so far, only near it: what was summed is rescaled when a score exceeds it by SLACK,
// which is seldom after the first tile, and no power overflows.
SW_INLINE void TYPED(soften_row)(real *scores, stored *p, visible seen, int64_t key, real scale,
                                 int64_t width, real *sums, real *top, real *weight) {
  for (int64_t j = 0; j < seen.low - key; j++)
    scores[j] = -INFINITY;
  for (int64_t j = most(0, seen.high - key); j < TILE; j++)
    scores[j] = -INFINITY;
  const real greatest = TYPED(greatest)(scores) * scale;
  if (greatest > *top + SLACK) {
    const real shrink = sw_exp(*top - greatest);
    for (int64_t c = 0; c < width; c++)
      sums[c] *= shrink;
    *weight *= shrink;
    *top = greatest;
  }
  *weight += TYPED(exponentials)(scores, scale, *top, p);
}

SW_KERNEL static void TYPED(soften)(const sw_attention *a, const sw_segment *s, int64_t query,
                                    int64_t queries, int64_t key, real *scores, stored *p, int64_t width,
                                    const TYPED(rows_state) * state) {
  for (int64_t i = 0; i < queries; i++) {
    const visible seen = keys_of(a, s, query + i);
    if (seen.low >= key + TILE || seen.high <= key) {
      memset(p + i * TILE, 0, TILE * sizeof(stored));
      continue;
    }
    TYPED(soften_row)(scores + i * TILE, p + i * TILE, seen, key, (real)a->scale, width,
                      state->sums + i * width, &state->top[i], &state->weight[i]);
  }
}

// o = sums / weight, logsumexp = top + log(weight). A query that sees no key gets zeros.
SW_KERNEL static void TYPED(finish)(const sw_attention *a, int64_t row, int64_t queries, int64_t head,
                                    int64_t width, const TYPED(rows_state) * state) {
  for (int64_t i = 0; i < queries; i++) {
    stored *o = (stored *)a->o.data + (row + i) * a->o.stride + head * a->head_size;
    const real inverse = state->weight[i] > 0 ? 1 / state->weight[i] : 0;
    for (int64_t c = 0; c < a->head_size; c++)
      sw_store(&o[c], state->sums[i * width + c] * inverse);
    if (a->logsumexp)
      ((real *)a->logsumexp)[(row + i) * a->heads + head] = state->top[i] + sw_log(state->weight[i]);
  }
}

static void TYPED(attention_forward)(const sw_attention *a, int64_t task, void *scratch) {
  const sw_microkernel kernel = kernel_for(a);
  const forward_task t = find_forward_task(a, task);
  const sw_segment *s = t.segment;
  const int64_t group = a->heads / a->kv_heads, D = a->head_size, width = round_up(D, SW_PANEL);
  const int64_t query = t.block * TILE, queries = least(TILE, s->q_count - query);
  char *front = scratch;
  char *k_panels = take(&front, TILE * D * 8), *v_panels = take(&front, TILE * width * 8);
  char *rows = take(&front, a->pages ? TILE * D * 8 : 0);
  real *scores = take(&front, TILE * TILE * sizeof(real));
  stored *p = take(&front, TILE * TILE * sizeof(stored));
  TYPED(rows_state) states[group];
  for (int64_t h = 0; h < group; h++) {
    states[h].sums = take(&front, TILE * width * sizeof(real));
    states[h].top = take(&front, TILE * sizeof(real));
    states[h].weight = take(&front, TILE * sizeof(real));
    memset(states[h].sums, 0, (size_t)(TILE * width) * sizeof(real));
    memset(states[h].weight, 0, TILE * sizeof(real));
    for (int i = 0; i < TILE; i++)
      states[h].top[i] = -INFINITY;
  }
  const int64_t first = keys_of(a, s, query).low / TILE * TILE, end = keys_of(a, s, query + queries - 1).high;
  for (int64_t key = first; key < end; key += TILE) {
    const int64_t keys = least(TILE, s->k_count - key);
    pack(&kernel, key_rows(a, a->k, s, t.head, key, keys, rows), SW_B_MATRIX_ROWS, D, k_panels, front);
    pack(&kernel, key_rows(a, a->v, s, t.head, key, keys, rows), SW_B_MATRIX, TILE, v_panels, front);
    for (int64_t h = 0; h < group; h++) {
      const sw_matrix q = head_rows(a->q, t.head * group + h, D, s->q_start + query, queries);
      multiply(&kernel, D, q.data, q.stride, queries, keys, k_panels, scores, TILE, 0);
      TYPED(soften)(a, s, query, queries, key, scores, p, width, &states[h]);
      multiply(&kernel, TILE, p, TILE, queries, D, v_panels, states[h].sums, width, 1);
    }
  }
  for (int64_t h = 0; h < group; h++)
    TYPED(finish)(a, s->q_start + query, queries, t.head * group + h, width, &states[h]);
}

// MARK: Backward
//
// With P = exp(scale * Q K^T - L) and D = rowsum(dO * O), both per query:
//   dV = P^T dO, dP = dO V^T, dS = P * (dP - D) * scale, dQ = dS K, dK = dS^T Q.
// Tiles are held transposed, keys by queries: then P^T and dS^T are the left operands of dV and dK as they
// are, and L and D vary along the vector.

// What up to 64 queries of one head bring to every tile of keys.
typedef struct {
  char *q_columns, *do_columns; // panels with the queries as columns, depth D
  char *q_rows, *do_rows;       // panels with the queries as depth
  real *logsumexp, *delta;      // (TILE); queries past the last: infinity and 0
  real *dq;                     // (width, TILE): transposed
} TYPED(queries_state);

// One key: p = exp(scale * st - L), ds = p * (dpt - D) * scale for the queries [low, high), zero for others,
// where st and dpt may hold anything.
SW_INLINE void TYPED(score_gradient_row)(const real *st, const real *dpt, const real *logsumexp,
                                         const real *delta, real scale, int64_t low, int64_t high, stored *p,
                                         stored *ds) {
  memset(p, 0, (size_t)low * sizeof(stored));
  memset(ds, 0, (size_t)low * sizeof(stored));
  SW_VECTOR
  for (int64_t i = low; i < high; i++) {
    const real probability = sw_exp(scale * st[i] - logsumexp[i]);
    sw_store(&p[i], probability);
    sw_store(&ds[i], probability * (dpt[i] - delta[i]) * scale);
  }
  memset(p + high, 0, (size_t)(TILE - high) * sizeof(stored));
  memset(ds + high, 0, (size_t)(TILE - high) * sizeof(stored));
}

// One tile: st = K Q^T and dpt = V dO^T, (keys, TILE), become P^T and dS^T.
SW_KERNEL static void TYPED(score_gradient)(const sw_attention *a, const sw_segment *s, int64_t query,
                                            int64_t queries, int64_t key, int64_t keys, const real *st,
                                            const real *dpt, const TYPED(queries_state) * state, stored *p,
                                            stored *ds) {
  for (int64_t j = 0; j < keys; j++) {
    // The queries [low, high) that see this key: those from its own position on, within the window.
    const int64_t position = key + j - (s->k_count - s->q_count) - query;
    const int64_t low = least(TILE, most(0, position));
    const int64_t high = most(low, a->window > 0 ? least(queries, position + a->window) : queries);
    const real *scores = st + j * TILE, *gradients = dpt + j * TILE;
    // Most tiles are seen whole: told so, the compiler unrolls their rows.
    if (low == 0 && high == TILE)
      TYPED(score_gradient_row)(scores, gradients, state->logsumexp, state->delta, (real)a->scale, 0, TILE,
                                p + j * TILE, ds + j * TILE);
    else
      TYPED(score_gradient_row)(scores, gradients, state->logsumexp, state->delta, (real)a->scale, low, high,
                                p + j * TILE, ds + j * TILE);
  }
}

SW_INLINE real TYPED(dot)(const stored *x, const stored *y, int64_t count) {
  SW_SUM_IN_LANES
  real sum = 0;
  for (int64_t c = 0; c < count; c++)
    sum += sw_load(&x[c]) * sw_load(&y[c]);
  return sum;
}

// delta = rowsum(dO * O)
SW_KERNEL static void TYPED(load_rows)(const sw_attention *a, sw_matrix d_o, int64_t row, int64_t head,
                                       int64_t queries, const TYPED(queries_state) * state) {
  for (int64_t i = 0; i < TILE; i++) {
    state->logsumexp[i] = INFINITY;
    state->delta[i] = 0;
    if (i >= queries)
      continue;
    const stored *o = (const stored *)a->o.data + (row + i) * a->o.stride + head * a->head_size;
    const stored *dy = (const stored *)d_o.data + (row + i) * d_o.stride + head * a->head_size;
    state->delta[i] = TYPED(dot)(o, dy, a->head_size);
    state->logsumexp[i] = ((const real *)a->logsumexp)[(row + i) * a->heads + head];
  }
}

SW_KERNEL static void TYPED(store_rows)(const real *sums, int64_t stride, sw_matrix out) {
  for (int64_t i = 0; i < out.rows; i++)
    for (int64_t c = 0; c < out.columns; c++)
      sw_store(&((stored *)out.data)[i * out.stride + c], sums[i * stride + c]);
}

SW_KERNEL static void TYPED(store_transposed)(const real *sums, sw_matrix out) {
  for (int64_t i = 0; i < out.rows; i++)
    for (int64_t c = 0; c < out.columns; c++)
      sw_store(&((stored *)out.data)[i * out.stride + c], sums[c * TILE + i]);
}

// kt[c, j] = k[j, c], zero for j past the last key
SW_KERNEL static void TYPED(transpose)(sw_matrix k, int64_t padded, stored *kt) {
  for (int64_t c = 0; c < k.columns; c++) {
    for (int64_t j = 0; j < k.rows; j++)
      kt[c * padded + j] = ((const stored *)k.data)[j * k.stride + c];
    memset(kt + c * padded + k.rows, 0, (size_t)(padded - k.rows) * sizeof(stored));
  }
}

static void TYPED(attention_backward)(const sw_attention *a, const sw_attention_gradients *g, int64_t task,
                                      void *scratch) {
  const sw_microkernel kernel = kernel_for(a);
  const sw_segment *s = &a->segments[task / a->kv_heads];
  const int64_t kv = task % a->kv_heads, group = a->heads / a->kv_heads, D = a->head_size;
  const int64_t width = round_up(D, SW_PANEL), padded = round_up(s->k_count, TILE);
  char *front = scratch;
  real *dk = take(&front, padded * width * sizeof(real)), *dv = take(&front, padded * width * sizeof(real));
  stored *kt = take(&front, padded * D * sizeof(stored)); // (D, padded)
  TYPED(queries_state)
  state = {.q_columns = take(&front, TILE * D * 8),
           .do_columns = take(&front, TILE * D * 8),
           .q_rows = take(&front, TILE * width * 8),
           .do_rows = take(&front, TILE * width * 8),
           .logsumexp = take(&front, TILE * sizeof(real)),
           .delta = take(&front, TILE * sizeof(real)),
           .dq = take(&front, width * TILE * sizeof(real))};
  real *st = take(&front, TILE * TILE * sizeof(real)), *dpt = take(&front, TILE * TILE * sizeof(real));
  stored *p = take(&front, TILE * TILE * sizeof(stored)), *ds = take(&front, TILE * TILE * sizeof(stored));
  char *ds_panels = take(&front, TILE * TILE * 8);
  memset(dk, 0, (size_t)(padded * width) * sizeof(real));
  memset(dv, 0, (size_t)(padded * width) * sizeof(real));
  const sw_matrix k = head_rows(a->k, kv, D, s->k_start, s->k_count);
  TYPED(transpose)(k, padded, kt);

  for (int64_t head = kv * group; head < (kv + 1) * group; head++) {
    for (int64_t query = 0; query < s->q_count; query += TILE) {
      const int64_t queries = least(TILE, s->q_count - query), row = s->q_start + query;
      const sw_matrix q = head_rows(a->q, head, D, row, queries),
                      dy = head_rows(g->d_o, head, D, row, queries);
      pack(&kernel, q, SW_B_MATRIX_ROWS, D, state.q_columns, front);
      pack(&kernel, dy, SW_B_MATRIX_ROWS, D, state.do_columns, front);
      pack(&kernel, q, SW_B_MATRIX, TILE, state.q_rows, front);
      pack(&kernel, dy, SW_B_MATRIX, TILE, state.do_rows, front);
      TYPED(load_rows)(a, g->d_o, row, head, queries, &state);
      memset(state.dq, 0, (size_t)(width * TILE) * sizeof(real));
      const int64_t first = keys_of(a, s, query).low / TILE * TILE,
                    end = keys_of(a, s, query + queries - 1).high;
      for (int64_t key = first; key < end; key += TILE) {
        const int64_t keys = least(TILE, s->k_count - key);
        const sw_matrix kj = head_rows(a->k, kv, D, s->k_start + key, keys);
        const sw_matrix vj = head_rows(a->v, kv, D, s->k_start + key, keys);
        multiply(&kernel, D, kj.data, kj.stride, keys, queries, state.q_columns, st, TILE, 0);
        multiply(&kernel, D, vj.data, vj.stride, keys, queries, state.do_columns, dpt, TILE, 0);
        TYPED(score_gradient)(a, s, query, queries, key, keys, st, dpt, &state, p, ds);
        multiply(&kernel, TILE, p, TILE, keys, D, state.do_rows, dv + key * width, width, 1);
        multiply(&kernel, TILE, ds, TILE, keys, D, state.q_rows, dk + key * width, width, 1);
        const sw_matrix tile = {
            .data = ds, .rows = keys, .columns = TILE, .stride = TILE, .dtype = a->q.dtype};
        pack(&kernel, tile, SW_B_MATRIX, TILE, ds_panels, front);
        multiply(&kernel, TILE, kt + key, padded, D, TILE, ds_panels, state.dq, TILE, 1);
      }
      TYPED(store_transposed)(state.dq, head_rows(g->d_q, head, D, row, queries));
    }
  }
  TYPED(store_rows)(dk, width, head_rows(g->d_k, kv, D, s->k_start, s->k_count));
  TYPED(store_rows)(dv, width, head_rows(g->d_v, kv, D, s->k_start, s->k_count));
}

#endif
