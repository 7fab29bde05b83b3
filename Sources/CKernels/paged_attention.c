// Attention of a few queries to keys in pages: one pass over the keys, which all queries and heads of a group
// share, in ranges that tasks take (Flash-Decoding; arXiv:2307.08691's algorithm 1 with one block of
// queries).
#include "include/attention.h"
#include "include/ops.h"
#ifndef SW_BODY

// Keys of a range, and of a tile whose scores are formed at once.
enum { RANGE = 512, TILE = 64 };
// Queries of a segment, and these times the heads that share keys, which count as few.
enum { FEW_QUERIES = 4, FEW_ROWS = 32 };

SW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
SW_INLINE int64_t ranges_of(int64_t keys) { return (keys + RANGE - 1) / RANGE; }
SW_INLINE int64_t group_of(const sw_attention *a) { return a->heads / a->kv_heads; }

static int are_few(const sw_attention *a, int64_t queries) {
  return queries <= FEW_QUERIES && queries * group_of(a) <= FEW_ROWS;
}

// The attention of one segment alone.
static sw_attention alone(const sw_attention *a, int64_t segment) {
  sw_attention one = *a;
  one.segments += segment;
  one.segment_count = 1;
  one.pages += segment * a->pages_each;
  return one;
}

static int64_t tasks_of(const sw_attention *a, int64_t segment) {
  const sw_segment *s = &a->segments[segment];
  if (s->q_count == 0)
    return 0;
  if (are_few(a, s->q_count))
    return ranges_of(s->k_count) * a->kv_heads;
  const sw_attention one = alone(a, segment);
  return sw_attention_tasks(&one);
}

int64_t sw_paged_attention_tasks(const sw_attention *a) {
  int64_t count = 0;
  for (int64_t i = 0; i < a->segment_count; i++)
    count += tasks_of(a, i);
  return count;
}

// Elements of a range's part: the sums of one query and head, what they are relative to, and their weight.
SW_INLINE int64_t part_size(const sw_attention *a) { return a->head_size + 2; }

// Where the parts of a segment's query and head begin, of all ranges one behind the other.
SW_INLINE int64_t part_at(const sw_attention *a, int64_t longest, int64_t queries, int64_t segment,
                          int64_t query, int64_t head) {
  const int64_t row = segment * least(queries, FEW_QUERIES) + query;
  return (row * a->heads + head) * ranges_of(longest) * part_size(a);
}

int64_t sw_paged_attention_parts_bytes(const sw_attention *a, int64_t longest, int64_t queries) {
  return longest > RANGE ? part_at(a, longest, queries, a->segment_count, 0, 0) * 8 : 0;
}

#define SW_TEMPLATE "paged_attention.c"
#include "each_dtype.h"

SW_KERNEL static void attend(const sw_attention *a, int64_t longest, int64_t queries, int64_t segment,
                             int64_t task, void *parts) {
  SW_DISPATCH(a->q.dtype, attend, a, longest, queries, segment, task, parts);
}

void sw_paged_attention_task(const sw_attention *a, int64_t longest, int64_t queries, int64_t task,
                             void *parts, void *scratch) {
  int64_t segment = 0;
  for (int64_t count; task >= (count = tasks_of(a, segment)); segment++)
    task -= count;
  if (are_few(a, a->segments[segment].q_count))
    return attend(a, longest, queries, segment, task, parts);
  const sw_attention one = alone(a, segment);
  sw_attention_forward(&one, task, scratch);
}

SW_KERNEL void sw_paged_attention_join(const sw_attention *a, int64_t longest, int64_t queries,
                                       int64_t segment, const void *parts) {
  const sw_segment *s = &a->segments[segment];
  if (s->q_count > 0 && are_few(a, s->q_count) && s->k_count > RANGE)
    SW_DISPATCH(a->q.dtype, join, a, longest, queries, segment, parts);
}

// MARK: Writing

static sw_matrix row_of(sw_matrix m, int64_t row) {
  const int64_t size = m.dtype == SW_F64 ? 8 : m.dtype == SW_F32 ? 4 : 2;
  return (sw_matrix){(char *)m.data + row * m.stride * size, 1, m.columns, m.stride, m.dtype};
}

// The place of a slot's token in its page.
static sw_matrix place_of(sw_matrix pages, int64_t slot, int64_t page_size, int64_t width) {
  sw_matrix place = row_of(pages, slot / page_size);
  const int64_t size = pages.dtype == SW_F64 ? 8 : pages.dtype == SW_F32 ? 4 : 2;
  place.data = (char *)place.data + slot % page_size * width * size;
  place.columns = width;
  return place;
}

void sw_write_pages(const sw_page_write *w, int64_t begin, int64_t end) {
  sw_rotary(w->q, w->positions, w->cosine, w->sine, w->head_size, w->rotary, SW_ROTATE_FORWARD, w->q, begin,
            end);
  for (int64_t row = begin; row < end; row++) {
    if (w->slots[row] < 0)
      continue;
    const sw_matrix k = place_of(w->k_pages, w->slots[row], w->page_size, w->k.columns);
    sw_rotary(row_of(w->k, row), w->positions + row, w->cosine, w->sine, w->head_size, w->rotary,
              SW_ROTATE_FORWARD, k, 0, 1);
    sw_copy(row_of(w->v, row), place_of(w->v_pages, w->slots[row], w->page_size, w->v.columns), 0, 1);
  }
}

#else

// The state of one query and head.
typedef struct {
  const real *q;    // (D)
  real *sums;       // (D): sum of exp(score - top) * v
  real top, weight; // the greatest score so far, and the sum of exp(score - top)
} TYPED(few_state);

SW_INLINE real TYPED(score)(const real *q, const stored *k, int64_t D) {
  SW_SUM_IN_LANES
  real sum = 0;
  for (int64_t c = 0; c < D; c++)
    sum += q[c] * sw_load(&k[c]);
  return sum;
}

// sums += p * v over `count` keys, four at a time.
SW_INLINE void TYPED(add_values)(const real *p, const stored *const *v, int64_t count, int64_t D,
                                 real *sums) {
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    SW_VECTOR
    for (int64_t c = 0; c < D; c++)
      sums[c] += p[j] * sw_load(&v[j][c]) + p[j + 1] * sw_load(&v[j + 1][c]) +
                 p[j + 2] * sw_load(&v[j + 2][c]) + p[j + 3] * sw_load(&v[j + 3][c]);
  }
  for (; j < count; j++) {
    SW_VECTOR
    for (int64_t c = 0; c < D; c++)
      sums[c] += p[j] * sw_load(&v[j][c]);
  }
}

SW_INLINE real TYPED(exponentials_of)(real *scores, int64_t count, real top) {
  SW_SUM_IN_LANES
  real total = 0;
  SW_VECTOR
  for (int64_t j = 0; j < count; j++) {
    scores[j] = sw_exp(scores[j] - top);
    total += scores[j];
  }
  return total;
}

// Takes `count` keys into the state, at most TILE.
SW_INLINE void TYPED(take_keys)(TYPED(few_state) * state, const stored *const *k, const stored *const *v,
                                int64_t count, int64_t D, real scale) {
  real scores[TILE], greatest = state->top;
  for (int64_t j = 0; j < count; j++) {
    scores[j] = scale * TYPED(score)(state->q, k[j], D);
    greatest = scores[j] > greatest ? scores[j] : greatest;
  }
  if (greatest > state->top) {
    const real shrink = sw_exp(state->top - greatest);
    SW_VECTOR
    for (int64_t c = 0; c < D; c++)
      state->sums[c] *= shrink;
    state->weight *= shrink;
    state->top = greatest;
  }
  state->weight += TYPED(exponentials_of)(scores, count, greatest);
  TYPED(add_values)(scores, v, count, D, state->sums);
}

// A range of keys, all queries of the segment, the heads of one group: to the output, or to `parts` where
// there are several ranges.
SW_INLINE void TYPED(attend)(const sw_attention *a, int64_t longest, int64_t queries, int64_t segment,
                             int64_t task, void *parts) {
  const sw_segment *s = &a->segments[segment];
  const int32_t *pages = a->pages + segment * a->pages_each;
  const int64_t D = a->head_size, group = group_of(a), kv = task % a->kv_heads, range = task / a->kv_heads;
  const int64_t begin = range * RANGE, end = least(s->k_count, begin + RANGE), rows = s->q_count * group;
  real q[rows * D], sums[rows * D];
  TYPED(few_state) states[rows];
  for (int64_t r = 0; r < rows; r++) {
    const stored *row = ROW(a->q, s->q_start + r / group) + (kv * group + r % group) * D;
    states[r] = (TYPED(few_state)){q + r * D, sums + r * D, -INFINITY, 0};
    for (int64_t c = 0; c < D; c++) {
      q[r * D + c] = sw_load(&row[c]);
      sums[r * D + c] = 0;
    }
  }
  for (int64_t key = begin; key < end; key += TILE) {
    const stored *k[TILE], *v[TILE];
    const int64_t count = least(TILE, end - key);
    for (int64_t j = 0; j < count; j++) {
      const int64_t page = pages[(key + j) / a->page_size];
      const int64_t column = ((key + j) % a->page_size * a->kv_heads + kv) * D;
      k[j] = ROW(a->k, page) + column;
      v[j] = ROW(a->v, page) + column;
    }
    for (int64_t r = 0; r < rows; r++) {
      const int64_t seen = s->k_count - s->q_count + r / group + 1;
      const int64_t low = most(0, a->window > 0 ? seen - a->window - key : 0),
                    high = least(count, seen - key);
      if (low < high)
        TYPED(take_keys)(&states[r], k + low, v + low, high - low, D, (real)a->scale);
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    const int64_t query = r / group, head = kv * group + r % group;
    const TYPED(few_state) *state = &states[r];
    if (s->k_count <= RANGE) {
      stored *out = ROW(a->o, s->q_start + query) + head * D;
      for (int64_t c = 0; c < D; c++)
        sw_store(&out[c], state->sums[c] / state->weight);
      continue;
    }
    real *part = (real *)parts + part_at(a, longest, queries, segment, query, head) + range * part_size(a);
    memcpy(part, state->sums, (size_t)D * sizeof(real));
    part[D] = state->top;
    part[D + 1] = state->weight;
  }
}

// out = sum of exp(top_i - top) sums_i / sum of exp(top_i - top) weight_i over the ranges i.
SW_INLINE void TYPED(join)(const sw_attention *a, int64_t longest, int64_t queries, int64_t segment,
                           const void *parts) {
  const sw_segment *s = &a->segments[segment];
  const int64_t D = a->head_size, size = part_size(a), ranges = ranges_of(s->k_count);
  for (int64_t row = 0; row < s->q_count * a->heads; row++) {
    const int64_t query = row / a->heads, head = row % a->heads;
    const real *first = (const real *)parts + part_at(a, longest, queries, segment, query, head);
    real top = -INFINITY, weight = 0, sums[D];
    for (int64_t i = 0; i < ranges; i++)
      top = first[i * size + D] > top ? first[i * size + D] : top;
    memset(sums, 0, (size_t)D * sizeof(real));
    for (int64_t i = 0; i < ranges; i++) {
      const real *part = first + i * size, factor = sw_exp(part[D] - top);
      weight += factor * part[D + 1];
      for (int64_t c = 0; c < D; c++)
        sums[c] += factor * part[c];
    }
    stored *out = ROW(a->o, s->q_start + query) + head * D;
    for (int64_t c = 0; c < D; c++)
      sw_store(&out[c], sums[c] / weight);
  }
}

#endif
