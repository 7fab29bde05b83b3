// The adapters' part of a merged layer's matrix (LinearExpansion.swift).
#include "common.cuh"

enum { MAX_PARTS = 4 };

// B of each part: (out, rank), float, contiguous. NULL for none.
struct adapters {
  const float *up[MAX_PARTS];
  float scale[MAX_PARTS];
  int32_t rows[MAX_PARTS];   // outputs of the part
  int32_t column[MAX_PARTS]; // where its columns begin among the ranks
  int32_t rank[MAX_PARTS];
  int32_t parts, ranks;
  int64_t inputs, outputs;
  const float *down; // A, (ranks, inputs), contiguous
};

// (outputs, ranks): scale * B where a part has it, else 0.
template <typename T> DEVICE void expand_up(matrix e, const adapters &a) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.outputs * a.ranks)
    return;
  int64_t r = i / a.ranks;
  int32_t c = (int32_t)(i % a.ranks);
  int64_t first = 0;
  float value = 0;
#pragma unroll
  for (int p = 0; p < MAX_PARTS; p++) {
    if (p < a.parts) {
      bool inside = r >= first && r < first + a.rows[p] && c >= a.column[p] && c < a.column[p] + a.rank[p];
      if (inside)
        value = a.scale[p] * a.up[p][(r - first) * a.rank[p] + c - a.column[p]];
      first += a.rows[p];
    }
  }
  row<T>(e, r)[c] = from_float<T>(value);
}

// Rows [outputs, outputs + ranks): A, then zeros.
template <typename T> DEVICE void expand_down(matrix e, const adapters &a) {
  int64_t width = a.inputs + a.ranks;
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.ranks * width)
    return;
  int64_t r = i / width, c = i % width;
  row<T>(e, a.outputs + r)[c] = from_float<T>(c < a.inputs ? a.down[r * a.inputs + c] : 0.0f);
}

KERNEL expand_up_f32(matrix e, adapters a) { expand_up<float>(e, a); }
KERNEL expand_up_bf16(matrix e, adapters a) { expand_up<bf16>(e, a); }
KERNEL expand_down_f32(matrix e, adapters a) { expand_down<float>(e, a); }
KERNEL expand_down_bf16(matrix e, adapters a) { expand_down<bf16>(e, a); }
