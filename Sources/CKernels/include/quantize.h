// Float to the formats that weights are stored in.
#pragma once
#include "weights.h"

// Rounds `count` floats to SW_W_F32, SW_W_F16 or SW_W_BF16 (nearest, ties to even) at `out`, which need not
// be aligned.
void sw_encode(const float *in, int64_t count, sw_format format, void *out);

// NF4 of `count` elements from the start of a block: the nearest of the 16 ascending `table` values to
// in / absmax, a tie to the lower one. Two codes a byte at `codes`, high nibble first; one absmax per 64 at
// `absmax`, the last block may be partial.
// Source: bitsandbytes' quantize_4bit (quant_type nf4, blocksize 64).
void sw_quantize_nf4(const float *in, int64_t count, const float table[16], uint8_t *codes, float *absmax);

// 8-bit codes of in[i] - offset: the nearest of the 256 ascending `map` values to it over its block's absmax,
// a tie to the lower one. One absmax per 256, the last block may be partial. Source: bitsandbytes'
// quantize_blockwise (blocksize 256).
void sw_quantize_dynamic(const float *in, int64_t count, float offset, const float map[256], uint8_t *codes,
                         float *absmax);

// One row of INT8: q = in * (127 / absmax), ties to even. Returns the row's absmax.
// Source: bitsandbytes' int8_vectorwise_quant.
float sw_quantize_int8(const float *in, int64_t count, int8_t *codes);

// Blocks of ggml's formats, SW_W_Q4_0 ... SW_W_Q6_K, of `count` finite floats, a whole number of blocks: at
// `out`, which need not be aligned.
// Source: ggml's reference quantisers, whose choice of scales these follow; without an importance matrix.
void sw_quantize_blocks(const float *in, int64_t count, sw_format format, void *out);

// rows of W += scale * B A, in float: (rows, columns) += scale * (rows, rank) (rank, columns), one term after
// the other.
void sw_add_low_rank(float *w, int64_t rows, int64_t columns, const float *b, const float *a, int64_t rank,
                     float scale);
