// What the kernels for few rows share (FewRows.swift): their operands, and what comes after the products.
#pragma once
#include "weights.cuh"

enum { MAX_PARTS = 4 };
enum activation_kind : int32_t { ACT_NONE = -1, ACT_SILU, ACT_GELU_TANH, ACT_GELU };

// One of the layers that share an input, and its adapter.
struct few_rows_part {
  weight w;
  const float *bias; // (rows), or NULL
  const float *up;   // B, (rows, rank), contiguous, or NULL
  float scale;
  int32_t column, rank; // its columns of h
  int32_t first;        // its first column of out
  int32_t first_block;  // of its thread blocks (NF4)
};

struct few_rows {
  few_rows_part part[MAX_PARTS];
  matrix x, h, addend, out; // h, addend: data is NULL for none
  const int32_t *owners;    // by column of out: the adapter that it is of, or NULL
  const int32_t *adapters;  // by row: its adapter, in the columns of others it is 0
  int32_t parts;
  activation_kind activation;
  // How the tensor cores' kernels share the work: `tiles` of weight rows, each in `splits` ranges of columns;
  // in NF4 `tiles` of a thread block.
  uint32_t tiles, splits;
  // Sums of each range: of each tile (few_rows_mma.cuh, whose last block that arrives at one adds them up),
  // or (splits, rows of x, rows of all parts) (few_rows_nf4_batch.cu).
  float *partials;
  uint32_t *arrivals; // by tile, 0 before and after
  int64_t
      rows_before; // of x's copy in shared memory, before the tables; negative where x is not copied (NF4)
};

// x of a dtype that only the call knows.
DEVICE float read_element(const matrix &m, int64_t r, int64_t c) {
  return m.dtype == 0 ? row<float>(m, r)[c] : to_float(row<bf16>(m, r)[c]);
}
DEVICE void write_element(const matrix &m, int64_t r, int64_t c, float value) {
  if (m.dtype == 0)
    row<float>(m, r)[c] = value;
  else
    row<bf16>(m, r)[c] = to_bf16(value);
}

DEVICE float read_past_l1(const float *at) { return __ldcg(at); }
DEVICE float read_past_l1(const bf16 *at) { return to_float(bf16{__ldcg(&at->bits)}); }

template <typename T> DEVICE vec<T, 8> read8_past_l1(const T *at) {
  vec<T, 8> values;
#pragma unroll
  for (int i = 0; i < (int)sizeof values / 16; i++)
    ((uint4 *)&values)[i] = __ldcg((const uint4 *)at + i);
  return values;
}

// A column of h B^T of an adapter, of any rank and alignment. h may share a sector with x, beside it, and the
// L1 cache have what that was when x was read (few_rows_nf4.cu).
template <typename T>
static __device__ __noinline__ float low_rank_of_any(const T *h, const float *up, int rank) {
  float sum = 0;
  for (int k = 0; k < rank; k++)
    sum = fmaf(read_past_l1(h + k), up[k], sum);
  return sum;
}

// What follows takes ROWS rows of x from `first` on. Of those past the last, which repeat it, nothing is
// written.
template <int ROWS> DEVICE int row_at(const few_rows &f, int first, int r) {
  return ROWS == 1 ? first : min(first + r, (int)f.x.rows - 1);
}

// Columns of h B^T by wide loads where they serve. One row, of which little is read, comes through the L1
// cache where h has its sectors for itself.
template <typename T, int ROWS>
DEVICE void low_rank(const few_rows &f, const few_rows_part &part, int first, int64_t j,
                     float (&sums)[ROWS]) {
  const T *all = row<T>(f.h, first), *h = all + part.column;
  const float *up = part.up + j * part.rank;
  const bool is_wide = part.rank % 8 == 0 && is_aligned(h, sizeof(vec<T, 8>)) && is_aligned(up, 16) &&
                       (ROWS == 1 || f.h.stride % 8 == 0);
  if (!is_wide) {
#pragma unroll
    for (int r = 0; r < ROWS; r++)
      sums[r] = low_rank_of_any(row<T>(f.h, row_at<ROWS>(f, first, r)) + part.column, up, part.rank);
    return;
  }
  const bool is_alone = ROWS == 1 && is_aligned(all, 32) && is_aligned(all + f.h.columns, 32);
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    sums[r] = 0;
#pragma unroll 2
  for (int k = 0; k < part.rank; k += 8) {
    const auto low = *(const vec<float, 4> *)(up + k), high = *(const vec<float, 4> *)(up + k + 4);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const T *from = h + (row_at<ROWS>(f, first, r) - first) * f.h.stride + k;
      const auto a = is_alone ? *(const vec<T, 8> *)from : read8_past_l1(from);
#pragma unroll
      for (int i = 0; i < 8; i++)
        sums[r] = fmaf(to_float(a.at[i]), i < 4 ? low.at[i] : high.at[i - 4], sums[r]);
    }
  }
}

// Turns products with row `j` of the part's weight into y.
template <typename T, int ROWS>
DEVICE void finish_linear(const few_rows &f, const few_rows_part &part, int first, int64_t j,
                          float (&values)[ROWS]) {
  const float bias = part.bias ? part.bias[j] : 0.0f;
  if (part.up) {
    float sums[ROWS];
    low_rank<T>(f, part, first, j, sums);
#pragma unroll
    for (int r = 0; r < ROWS; r++)
      values[r] = fmaf(part.scale, sums[r], values[r]);
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    values[r] += bias;
}

// See ../gated_activation.c for the formulas and their sources.
DEVICE float activate(activation_kind kind, float x) {
  if (kind == ACT_GELU)
    return x * normcdff(x);
  const float a = 1.5957691216057308f, b = 0.044715f;
  const float z = kind == ACT_SILU ? x : a * (x + b * x * x * x);
  return x / (1.0f + expf(-z));
}

// Writes the elements of out that products with row `j` of the part give. What it reads is under way at once.
template <typename T, int ROWS>
DEVICE void finish(const few_rows &f, const few_rows_part &part, int first, int64_t j,
                   float (&values)[ROWS]) {
  const int64_t column = part.first + j;
  float addends[ROWS];
  bool are_anothers[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    addends[r] = f.addend.data ? read_element(f.addend, row_at<ROWS>(f, first, r), column) : 0.0f;
    are_anothers[r] = f.owners && f.owners[column] != f.adapters[row_at<ROWS>(f, first, r)];
  }
  finish_linear<T>(f, part, first, j, values);
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (ROWS == 1 || first + r < f.x.rows)
      write_element(f.out, first + r, column, (are_anothers[r] ? 0.0f : values[r]) + addends[r]);
}

// The same from the products with both parts, with an activation.
template <typename T, int ROWS>
DEVICE void finish_gated(const few_rows &f, int first, int64_t j, float (&gates)[ROWS], float (&ups)[ROWS]) {
  finish_linear<T>(f, f.part[0], first, j, gates);
  finish_linear<T>(f, f.part[1], first, j, ups);
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (ROWS == 1 || first + r < f.x.rows)
      write_element(f.out, first + r, j, activate(f.activation, gates[r]) * ups[r]);
}

// The same for one row.
template <typename T>
DEVICE void finish(const few_rows &f, const few_rows_part &part, int r, int64_t j, float value) {
  float values[1] = {value};
  finish<T>(f, part, r, j, values);
}
template <typename T> DEVICE void finish_gated(const few_rows &f, int r, int64_t j, float gate, float up) {
  float gates[1] = {gate}, ups[1] = {up};
  finish_gated<T>(f, r, j, gates, ups);
}
