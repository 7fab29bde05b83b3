// Scaled dot-product attention over packed sequences, tiled: no (T, T) matrix exists.
//
// FlashAttention-2 (Dao, arXiv:2307.08691): forward keeps a running maximum and sum per query row (algorithm
// 1), backward recomputes the probabilities from the saved logsumexp (algorithm 2).
#pragma once
#include "kernel.h"

// A sequence: rows [q_start, q_start + q_count) of q attend to rows [k_start, k_start + k_count) of k and v.
// The last query stands at the last key: query i sees keys j <= k_count - q_count + i.
typedef struct {
  int32_t q_start, q_count, k_start, k_count;
} sw_segment;

typedef struct {
  sw_matrix q; // (Tq, heads * head_size)
  sw_matrix k; // (Tk, kv_heads * head_size)
  sw_matrix v; // (Tk, kv_heads * head_size)
  sw_matrix o; // (Tq, heads * head_size)
  // (Tq, heads), float (double for SW_F64): log of the sum of the exponentials of the scaled scores. Written
  // forward unless NULL, read backward.
  void *logsumexp;
  const sw_segment *segments;
  int64_t segment_count;
  int64_t head_size; // even
  int32_t heads, kv_heads;
  double scale;
  int64_t window; // a query sees at most this many keys, itself included; 0: all
  // Forward only: when not NULL, (segments, pages_each), a row of k and v is a page of page_size tokens,
  // (page_size * kv_heads * head_size), and these are the pages that hold each segment's keys in order.
  const int32_t *pages;
  int64_t pages_each, page_size;
} sw_attention;

typedef struct {
  sw_matrix d_o, d_q, d_k, d_v; // shaped like o, q, k, v; d_q, d_k, d_v are written
} sw_attention_gradients;

// Forward work is cut into tasks of up to 64 queries of one sequence and one key-value head, backward into
// tasks of one sequence and one key-value head. `scratch` belongs to the calling thread, 64-byte aligned.
int64_t sw_attention_tasks(const sw_attention *a);
void sw_attention_forward(const sw_attention *a, int64_t task, void *scratch);
int64_t sw_attention_backward_tasks(const sw_attention *a);
void sw_attention_backward(const sw_attention *a, const sw_attention_gradients *g, int64_t task,
                           void *scratch);

// Bytes of scratch for one thread, when no sequence has more than `longest` keys.
int64_t sw_attention_scratch_bytes(const sw_attention *a);
int64_t sw_attention_backward_scratch_bytes(const sw_attention *a, int64_t longest);

// Attention to pages: tasks as above for segments of many queries; for those of a few, (paged_attention.c), a
// task is a range of the keys. Where such ranges are several, their parts are added up afterwards, in order,
// one query at a time. `longest` and `queries`: no segment has more keys, nor more queries.
int64_t sw_paged_attention_tasks(const sw_attention *a);
void sw_paged_attention_task(const sw_attention *a, int64_t longest, int64_t queries, int64_t task,
                             void *parts, void *scratch);
int64_t sw_paged_attention_parts_bytes(const sw_attention *a, int64_t longest, int64_t queries);
void sw_paged_attention_join(const sw_attention *a, int64_t longest, int64_t queries, int64_t segment,
                             const void *parts);

// Takes rows [begin, end) of k and v into pages: q is rotated in place, k on its way. slots: [rows], page *
// page_size + place, negative for nowhere. See sw_rotary.
typedef struct {
  sw_matrix q, k, v, k_pages, v_pages;
  const int32_t *positions, *slots;
  const float *cosine, *sine;
  int64_t head_size, rotary, page_size;
} sw_page_write;
void sw_write_pages(const sw_page_write *w, int64_t begin, int64_t end);
