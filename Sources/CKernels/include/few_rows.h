// Linear layers that share an input, with their adapters, for few rows. See `FewRows` in Compute/Ops.
#pragma once
#include "ops.h"
#include "weights.h"

typedef struct {
  sw_weight weight;  // (out, in)
  const float *bias; // [out] or NULL
  sw_weight up;      // (out, rank); no data: no adapter
  int64_t up_column; // of h, the first that is the adapter's
  float up_scale;
} sw_part;

typedef struct {
  sw_matrix x; // (m, in), float or bfloat16
  sw_matrix h; // (m, R) of x's dtype; data NULL: none
  const sw_part *parts;
  int32_t part_count;
  int32_t gated; // whether out = act(first part) * second part; or else the parts side by side
  sw_activation activation;
  const int32_t *owners;   // [n]: the adapter that a column of out is of, or NULL
  const int32_t *adapters; // [m]: that of a row, which is 0 in others' columns
  sw_matrix addend;        // like out; data NULL: none; may be out itself
  sw_matrix out;           // float or bfloat16
} sw_few_rows;

// Computes columns [begin, end) of out, a whole number of which make each part. `scratch` has
// sw_few_rows_scratch_bytes and belongs to the calling thread.
void sw_run_few_rows(const sw_few_rows *f, int64_t begin, int64_t end, void *scratch);
int64_t sw_few_rows_scratch_bytes(const sw_few_rows *f);
