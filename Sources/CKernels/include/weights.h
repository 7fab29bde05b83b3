// Weight matrices as they lie in files and memory, and their decoding to float.
#pragma once
#include "kernel.h"

// Values are those of `StorageFormat` in Compute/Quantization.
typedef enum : int32_t {
  SW_W_F32 = 0,
  SW_W_F16,
  SW_W_BF16,
  SW_W_Q4_0,
  SW_W_Q4_1,
  SW_W_Q5_0,
  SW_W_Q5_1,
  SW_W_Q8_0,
  SW_W_Q4_K,
  SW_W_Q5_K,
  SW_W_Q6_K,
  SW_W_NF4,
  SW_W_INT8,
} sw_format;

// An (rows, columns) = (out, in) matrix, row-major in its format's blocks.
typedef struct {
  const void *data;
  int64_t rows, columns;
  sw_format format;
  // Head size when the file holds each head's rows in interleaved rotary order (GGUF, llama architecture: row
  // 2i is the first half's row i, row 2i+1 the second half's); 0 when rows are in Hugging Face's order. Rows
  // are always named in Hugging Face's order.
  int32_t interleaved_head;
  // NF4 (bitsandbytes): two codes a byte, high nibble first; one absmax per 64 elements, row-major over the
  // whole matrix. Plain: `absmax` alone. Double-quantised: absmax[i] = map[absmax_codes[i]] *
  // nested_absmax[i / 256] + nested_offset, the product and the sum each rounded to float.
  const float *code;           // [16]
  const float *absmax;         // [elements / 64], or NULL when double-quantised
  const uint8_t *absmax_codes; // [elements / 64]
  const float *absmax_map;     // [256]
  const float *nested_absmax;  // [elements / 64 / 256, rounded up]
  float nested_offset;
  // INT8 (bitsandbytes LLM.int8): w = (data[r, c] * row_scale[r]) * float(1 / 127), each product rounded.
  const float *row_scale; // [rows]
} sw_weight;

// The row of the file that holds row `row`.
int64_t sw_weight_file_row(const sw_weight *weight, int64_t row);

// Elements of a block, at whose start decoding has to begin.
int64_t sw_weight_block(sw_format format);

// Writes elements [first, first + count) of row `row` to `out` as float. `first` is a multiple of
// sw_weight_block, count is arbitrary within the row.
void sw_weight_decode(const sw_weight *weight, int64_t row, int64_t first, int64_t count, float *out);
