// What cuDNN's attention wants laid out otherwise than Swiftlet has it.
#include "common.cuh"

struct segment {
  int32_t q_start, q_count, k_start, k_count;
};

// Row strides of up to eight operands; bit i of `of_keys`: operand i has rows of keys, else of queries.
struct strides {
  int64_t at[8];
};

// Fills a table of lines of `line` integers: the sequences' queries, their keys, and for each operand the
// elements before each sequence, `count` of them and the operand's end. An empty sequence stands at the end.
KERNEL attention_offsets(const segment *segments, int64_t count, int64_t rows, strides operands,
                         int32_t operand_count, int32_t of_keys, int32_t *table, int64_t line) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i > count)
    return;
  const segment s = i < count ? segments[i] : segment{0, 0, 0, 0};
  if (i < count) {
    table[i] = s.q_count;
    table[line + i] = s.k_count;
  }
  for (int32_t operand = 0; operand < operand_count; operand++) {
    const bool keys = of_keys >> operand & 1;
    const int64_t start = (keys ? s.k_count : s.q_count) > 0 ? (keys ? s.k_start : s.q_start) : rows;
    table[(2 + operand) * line + i] = (int32_t)(start * operands.at[operand]);
  }
}

// y[plane][column][row] = x[plane][row][column]. Grid: 32 columns, 32 rows, planes.
KERNEL transpose_f32(const float *x, float *y, int64_t rows, int64_t columns) {
  __shared__ float tile[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int64_t plane = blockIdx.z * rows * columns, row = blockIdx.y * 32, column = blockIdx.x * 32;
  for (int r = ty; r < 32; r += 8)
    if (row + r < rows && column + tx < columns)
      tile[r][tx] = x[plane + (row + r) * columns + column + tx];
  __syncthreads();
  for (int c = ty; c < 32; c += 8)
    if (column + c < columns && row + tx < rows)
      y[plane + (column + c) * rows + row + tx] = tile[tx][c];
}
