#include "gemm_pack.h"
#include "gemm_kernels.h"
#include <string.h>

// Rows of B are read so many at a time, in segments this long, a multiple of every format's block: long
// enough to read files and activations in runs, and to write panels in runs; short enough for the first-level
// cache.
enum { GROUP = SW_PANEL, SEGMENT = 1024 };

SW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t size_of(sw_dtype dtype) { return dtype == SW_F64 ? 8 : dtype == SW_F32 ? 4 : 2; }

SW_KERNEL static void widen_bf16(const sw_bf16 *x, int64_t count, float *out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = sw_from_bf16(x[i]);
}

SW_KERNEL static void round_to_bf16(const float *x, int64_t count, sw_bf16 *out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = sw_to_bf16(x[i]);
}

SW_KERNEL static void scale_in_f64(float scale, const float *x, int64_t count, double *out) {
  for (int64_t i = 0; i < count; i++)
    out[i] = (double)scale * x[i];
}

void sw_widen(sw_dtype dtype, const void *x, int64_t count, float *out) {
  if (dtype == SW_BF16)
    widen_bf16(x, count, out);
  else
    memcpy(out, x, (size_t)count * sizeof(float));
}

// MARK: Segments of a row of B in the packed type

typedef struct {
  float decoded[SEGMENT];
  char rows[GROUP * SEGMENT * sizeof(double)]; // a group's segments, of any packed type
} pack_buffer;

// Weights whose rows may be read where they lie.
static int lies_packed(const sw_weight *w, sw_dtype packed) {
  return (w->format == SW_W_BF16 && packed == SW_BF16) || (w->format == SW_W_F32 && packed == SW_F32);
}

SW_KERNEL static void scale_by(float scale, int64_t count, float *x) {
  for (int64_t i = 0; i < count; i++)
    x[i] *= scale;
}

// Writes elements [first, first + count) of the weight's row `row`, scaled, to `out` in the packed type.
static void convert_weight(const sw_term *term, sw_dtype packed, int64_t row, int64_t first, int64_t count,
                           float *decoded, void *out) {
  float *values = packed == SW_F32 ? out : decoded;
  sw_weight_decode(&term->weight, row, first, count, values);
  if (packed == SW_F64)
    return scale_in_f64(term->scale, values, count, out);
  if (term->scale != 1)
    scale_by(term->scale, count, values);
  if (packed == SW_BF16)
    round_to_bf16(values, count, out);
}

// Elements [first, first + count) of row `row` of a (rows, columns) operand; returns where they lie: in `out`
// or in place. count is at most SEGMENT and, for weights, first is a multiple of the format's block.
static const void *read_segment(const sw_term *term, sw_dtype packed, int64_t row, int64_t first,
                                int64_t count, float *decoded, void *out) {
  if (term->b_kind == SW_B_MATRIX || term->b_kind == SW_B_MATRIX_ROWS) {
    const char *at = (const char *)term->b.data + (row * term->b.stride + first) * size_of(term->b.dtype);
    if (term->b.dtype == packed)
      return at;
    widen_bf16((const sw_bf16 *)at, count, out);
    return out;
  }
  const sw_weight *w = &term->weight;
  if (lies_packed(w, packed) && w->interleaved_head == 0 && term->scale == 1)
    return (const char *)w->data + (row * w->columns + first) * size_of(packed);
  convert_weight(term, packed, row, first, count, decoded, out);
  return out;
}

// MARK: B from rows along n: 16 rows of the operand are the columns of a panel

SW_KERNEL static void interleave_words(const uint32_t *const rows[SW_PANEL], int64_t count, uint32_t *out) {
  for (int64_t k = 0; k < count; k++)
    for (int j = 0; j < SW_PANEL; j++)
      out[k * SW_PANEL + j] = rows[j][k];
}

static void interleave_doubles(const double *const rows[SW_PANEL], int64_t count, double *out) {
  for (int64_t k = 0; k < count; k++)
    for (int j = 0; j < SW_PANEL; j++)
      out[k * SW_PANEL + j] = rows[j][k];
}

#if defined(__x86_64__)
#include <immintrin.h>

// Transposes 16 x 16 words at a time: pairs, quadruples, then 128-bit lanes.
__attribute__((target("avx512f"))) static void interleave_words_avx512(const uint32_t *const rows[SW_PANEL],
                                                                       int64_t count, uint32_t *out) {
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) {
    __m512i a[16], b[16];
    for (int j = 0; j < 16; j++)
      a[j] = _mm512_loadu_si512(rows[j] + k);
    for (int j = 0; j < 16; j += 2) {
      b[j] = _mm512_unpacklo_epi32(a[j], a[j + 1]);
      b[j + 1] = _mm512_unpackhi_epi32(a[j], a[j + 1]);
    }
    for (int j = 0; j < 16; j += 4) {
      a[j] = _mm512_unpacklo_epi64(b[j], b[j + 2]);
      a[j + 1] = _mm512_unpackhi_epi64(b[j], b[j + 2]);
      a[j + 2] = _mm512_unpacklo_epi64(b[j + 1], b[j + 3]);
      a[j + 3] = _mm512_unpackhi_epi64(b[j + 1], b[j + 3]);
    }
    // a[4q + c] now holds, in lane l, word 4l + c of rows 4q .. 4q + 3.
    for (int c = 0; c < 4; c++) {
      __m512i low01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88),
              high01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xDD);
      __m512i low23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
      __m512i high23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xDD);
      uint32_t *at = out + (k + c) * SW_PANEL;
      _mm512_storeu_si512(at, _mm512_shuffle_i32x4(low01, low23, 0x88));
      _mm512_storeu_si512(at + 4 * SW_PANEL, _mm512_shuffle_i32x4(high01, high23, 0x88));
      _mm512_storeu_si512(at + 8 * SW_PANEL, _mm512_shuffle_i32x4(low01, low23, 0xDD));
      _mm512_storeu_si512(at + 12 * SW_PANEL, _mm512_shuffle_i32x4(high01, high23, 0xDD));
    }
  }
  const uint32_t *rest[SW_PANEL];
  for (int j = 0; j < SW_PANEL; j++)
    rest[j] = rows[j] + k;
  interleave_words(rest, count - k, out + k * SW_PANEL);
}
#endif

static void interleave(const void *const rows[SW_PANEL], sw_dtype packed, int64_t count, void *out) {
  if (packed == SW_F64)
    return interleave_doubles((const double *const *)rows, count, out);
  const int64_t words = packed == SW_BF16 ? count / 2 : count;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return interleave_words_avx512((const uint32_t *const *)rows, words, out);
#endif
  interleave_words((const uint32_t *const *)rows, words, out);
}

static void pack_rows_as_columns(const sw_term *term, sw_dtype packed, sw_k_range k, int64_t n0, int64_t n1,
                                 char *panels, int64_t panel_bytes, pack_buffer *buffer) {
  const int64_t size = size_of(packed);
  for (int64_t n = n0; n < n1; n += SW_PANEL, panels += panel_bytes) {
    const int columns = (int)least(SW_PANEL, n1 - n);
    for (int64_t at = 0; at < k.padded; at += SEGMENT) {
      const int64_t padded = least(SEGMENT, k.padded - at), count = least(padded, k.count - at);
      const void *rows[SW_PANEL];
      for (int j = 0; j < SW_PANEL; j++) {
        char *own = buffer->rows + j * padded * size;
        rows[j] = own;
        if (j >= columns) {
          memset(own, 0, (size_t)(padded * size));
          continue;
        }
        const void *segment = read_segment(term, packed, n + j, k.first + at, count, buffer->decoded, own);
        if (count == padded) {
          rows[j] = segment;
        } else {
          memmove(own, segment, (size_t)(count * size));
          memset(own + count * size, 0, (size_t)((padded - count) * size));
        }
      }
      interleave(rows, packed, padded, panels + at * SW_PANEL * size);
    }
  }
}

// MARK: B from rows along k: a row of the operand is a row of the panels

// Words of two rows of bfloat16: the first row in the low halves, the second in the high ones.
SW_INLINE void zip(const sw_bf16 *first, const sw_bf16 *second, int columns, uint32_t *out) {
  for (int j = 0; j < columns; j++)
    out[j] = (uint32_t)first[j] | (uint32_t)second[j] << 16;
}

// `count` rows of bfloat16, an even number, become count / 2 words of each of the panels. Panels are filled
// up with zeros.
SW_KERNEL static void spread_pairs(const sw_bf16 *const rows[GROUP], int count, int64_t columns, char *out,
                                   int64_t panel_bytes) {
  for (int64_t first = 0; first < columns; first += SW_PANEL, out += panel_bytes) {
    uint32_t *words = (uint32_t *)out;
    const int left = (int)least(SW_PANEL, columns - first);
    for (int i = 0; i < count; i += 2, words += SW_PANEL) {
      if (left == SW_PANEL) {
        zip(rows[i] + first, rows[i + 1] + first, SW_PANEL, words);
      } else {
        memset(words, 0, SW_PANEL * sizeof(uint32_t));
        zip(rows[i] + first, rows[i + 1] + first, left, words);
      }
    }
  }
}

// `count` rows of floats or doubles, spread over the panels.
static void spread_rows(const char *const rows[GROUP], int count, int64_t size, int64_t columns, char *out,
                        int64_t panel_bytes) {
  for (int64_t first = 0; first < columns; first += SW_PANEL, out += panel_bytes) {
    char *line = out;
    const int64_t left = least(SW_PANEL, columns - first);
    for (int i = 0; i < count; i++, line += SW_PANEL * size) {
      memcpy(line, rows[i] + first * size, (size_t)(left * size));
      memset(line + left * size, 0, (size_t)((SW_PANEL - left) * size));
    }
  }
}

// Asks for the group of rows after the one at `k`: the rows lie too far apart for the processor to foresee
// them.
static void prefetch_group(const sw_term *term, int64_t k, int64_t end, int64_t first, int64_t count) {
  const int64_t size = size_of(term->b.dtype);
  for (int64_t row = k + GROUP; row < least(end, k + 2 * GROUP); row++) {
    const char *at = (const char *)term->b.data + (row * term->b.stride + first) * size;
    for (int64_t byte = 0; byte < count * size; byte += 64)
      __builtin_prefetch(at + byte, 0, 3);
  }
}

static void pack_rows_along_k(const sw_term *term, sw_dtype packed, sw_k_range k, int64_t n0, int64_t n1,
                              char *panels, int64_t panel_bytes, pack_buffer *buffer) {
  const int64_t size = size_of(packed);
  static const double zeros[SEGMENT] = {0};
  // Weights are decoded from a block's start; the panels then begin `skip` elements into the segment.
  const int64_t block = term->b_kind == SW_B_WEIGHT ? sw_weight_block(term->weight.format) : 1;
  for (int64_t n = n0 / block * block; n < n1; n += SEGMENT) {
    const int64_t columns = least(SEGMENT, n1 - n), skip = n < n0 ? n0 - n : 0;
    char *out = panels + (n + skip - n0) / SW_PANEL * panel_bytes;
    for (int64_t at = 0; at < k.padded; at += GROUP) {
      const int count = (int)least(GROUP, k.padded - at);
      if (term->b_kind == SW_B_MATRIX)
        prefetch_group(term, k.first + at, k.first + k.count, n, columns);
      const char *rows[GROUP];
      for (int i = 0; i < count; i++) {
        rows[i] = (const char *)zeros;
        if (at + i < k.count)
          rows[i] = (const char *)read_segment(term, packed, k.first + at + i, n, columns, buffer->decoded,
                                               buffer->rows + i * SEGMENT * size) +
                    skip * size;
      }
      if (packed == SW_BF16)
        spread_pairs((const sw_bf16 *const *)rows, count, columns - skip, out + at * SW_PANEL * size,
                     panel_bytes);
      else
        spread_rows(rows, count, size, columns - skip, out + at * SW_PANEL * size, panel_bytes);
    }
  }
}

int64_t sw_pack_scratch_bytes(void) { return sizeof(pack_buffer); }

void sw_pack_b(const sw_term *term, sw_dtype packed, sw_k_range k, int64_t n0, int64_t n1, void *panels,
               int64_t panel_bytes, void *scratch) {
  const int rows_are_columns = term->b_kind == SW_B_WEIGHT_ROWS || term->b_kind == SW_B_MATRIX_ROWS;
  (rows_are_columns ? pack_rows_as_columns : pack_rows_along_k)(term, packed, k, n0, n1, panels, panel_bytes,
                                                                scratch);
}

// MARK: A

// out[i, k] = a[k, i] for `rows` (at most 16) columns of a. Words are transposed 16 x 16: a float is one, and
// so are two rows of bfloat16 zipped.
static void stage_words(const char *a, int64_t stride, sw_dtype dtype, int rows, sw_k_range k,
                        uint32_t *out) {
  const int per_word = dtype == SW_BF16 ? 2 : 1;
  const int64_t size = size_of(dtype), padded = k.padded / per_word;
  static const sw_bf16 zeros[SW_PANEL] = {0};
  uint32_t words[SW_PANEL][SW_PANEL] = {0}, turned[SW_PANEL * SW_PANEL];
  const void *lines[SW_PANEL];
  for (int j = 0; j < SW_PANEL; j++)
    lines[j] = words[j];
  for (int64_t first = 0; first < padded; first += SW_PANEL) {
    const int count = (int)least(SW_PANEL, padded - first);
    for (int j = 0; j < count; j++) {
      const int64_t row = (first + j) * per_word;
      const char *line = a + row * stride * size;
      if (row >= k.count)
        memset(words[j], 0, sizeof words[j]);
      else if (dtype == SW_BF16)
        spread_pairs((const sw_bf16 *const[]){(const sw_bf16 *)line,
                                              row + 1 < k.count ? (const sw_bf16 *)line + stride : zeros},
                     2, rows, (char *)words[j], 0);
      else
        memcpy(words[j], line, (size_t)rows * sizeof(float));
    }
    interleave(lines, SW_F32, SW_PANEL, turned);
    for (int i = 0; i < rows; i++)
      memcpy(out + i * padded + first, turned + i * SW_PANEL, (size_t)count * sizeof(uint32_t));
  }
}

static void stage_doubles(const double *a, int64_t stride, int rows, sw_k_range k, double *out) {
  for (int64_t p = 0; p < k.padded; p++)
    for (int i = 0; i < rows; i++)
      out[i * k.padded + p] = p < k.count ? a[p * stride + i] : 0;
}

static void stage_rows(const char *a, int64_t stride, int64_t size, int rows, sw_k_range k, char *out) {
  for (int i = 0; i < rows; i++) {
    char *row = out + i * k.padded * size;
    memcpy(row, a + i * stride * size, (size_t)(k.count * size));
    memset(row + k.count * size, 0, (size_t)((k.padded - k.count) * size));
  }
}

void sw_stage_a(const sw_term *term, int64_t m, int rows, sw_k_range k, void *out) {
  const sw_dtype dtype = term->a.dtype;
  const int64_t size = size_of(dtype), stride = term->a.stride;
  const char *a = term->a.data;
  if (!term->a_transposed)
    return stage_rows(a + (m * stride + k.first) * size, stride, size, rows, k, out);
  a += (k.first * stride + m) * size;
  if (dtype == SW_F64)
    return stage_doubles((const double *)a, stride, rows, k, out);
  for (int i = 0; i < rows; i += SW_PANEL)
    stage_words(a + i * size, stride, dtype, (int)least(SW_PANEL, rows - i), k,
                (uint32_t *)((char *)out + i * k.padded * size));
}
