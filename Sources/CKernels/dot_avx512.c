#include "dot_avx512.h"

#if !defined(__x86_64__)
int sw_dots_avx512(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
                   int64_t stride, int m, float *sums, int64_t sums_stride) {
  (void)weight, (void)first, (void)count, (void)scale, (void)x, (void)stride, (void)m, (void)sums;
  (void)sums_stride;
  return 0;
}
#else
#include <immintrin.h>
#include <string.h>

// A weight's value is rounded as sw_weight_decode rounds it: after the product and after the sum.
#pragma STDC FP_CONTRACT OFF

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c"))) static
#define INLINE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c"), always_inline)) static inline

// The sums of `rows` rows of x, a constant wherever this is used, that lie `stride` floats apart.
typedef struct {
  int rows;
  int64_t stride;
  __m512 first[SW_DOT_ROWS], second[SW_DOT_ROWS];
} sums;

// Adds 32 elements' products.
INLINE void add(sums *s, __m512 low, __m512 high, const float *x) {
  _Pragma("clang loop unroll(full)") for (int i = 0; i < s->rows; i++) {
    s->first[i] = _mm512_fmadd_ps(low, _mm512_loadu_ps(x + i * s->stride), s->first[i]);
    s->second[i] = _mm512_fmadd_ps(high, _mm512_loadu_ps(x + i * s->stride + 16), s->second[i]);
  }
}

// Asks for what lies some rows on: rows lie one behind the other, but many are too short for the processor to
// see far enough ahead. Past the end of the weight this does nothing.
INLINE void prefetch(const uint8_t *at, int64_t size) {
  enum { AHEAD = 4096, LINE = 64 };
  for (int64_t i = 0; i < size; i += LINE)
    _mm_prefetch((const char *)(at + AHEAD + i), _MM_HINT_T0);
}

// A half float, in all lanes. (Put into one lane, it would wait for the register that the others come from.)
INLINE __m512 half(const uint8_t *at) {
  int16_t bits;
  memcpy(&bits, at, sizeof bits);
  return _mm512_cvtph_ps(_mm256_set1_epi16(bits));
}

INLINE __m512i bytes(const uint8_t *at) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at)); }
INLINE __m512i signed_bytes(const uint8_t *at) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)at));
}

INLINE __m512 times(__m512 scale, __m512i q) { return _mm512_mul_ps(scale, _mm512_cvtepi32_ps(q)); }
INLINE __m512 scaled(__m512 d, int scale) { return _mm512_mul_ps(d, _mm512_set1_ps((float)scale)); }

// The sixteen values d * (i - middle) + m of a 4-bit code; only a code's low four bits choose.
INLINE __m512 table(__m512 d, int middle, __m512 m) {
  const __m512i codes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_add_ps(times(d, _mm512_sub_epi32(codes, _mm512_set1_epi32(middle))), m);
}

INLINE __m512 low_nibbles(__m512 table, __m512i bytes) { return _mm512_permutexvar_ps(bytes, table); }
INLINE __m512 high_nibbles(__m512 table, __m512i bytes) {
  return _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table);
}

// MARK: Blocks of 32

INLINE void q4_0(sums *s, const uint8_t *block, const float *x) {
  const __m512i q = bytes(block + 2);
  const __m512 values = table(half(block), 8, _mm512_setzero_ps());
  add(s, low_nibbles(values, q), high_nibbles(values, q), x);
}

// The sixteen values d * i + m, d and m side by side. A half takes longer to widen than a value to look up:
// both are widened at once, each in every other lane.
INLINE __m512 table_of_pair(const uint8_t *halves) {
  int32_t bits;
  memcpy(&bits, halves, sizeof bits);
  const __m512 dm = _mm512_cvtph_ps(_mm256_set1_epi32(bits)), md = _mm512_permute_ps(dm, 0xB1);
  const __m512 left = _mm512_setr_ps(0, 1, 2, 1, 4, 1, 6, 1, 8, 1, 10, 1, 12, 1, 14, 1);
  const __m512 right = _mm512_setr_ps(1, 1, 1, 3, 1, 5, 1, 7, 1, 9, 1, 11, 1, 13, 1, 15);
  return _mm512_fmadd_ps(dm, left, _mm512_mul_ps(md, right)); // products of halves and codes are exact
}

INLINE void q4_1(sums *s, const uint8_t *block, const float *x) {
  const __m512i q = bytes(block + 4);
  const __m512 values = table_of_pair(block);
  add(s, low_nibbles(values, q), high_nibbles(values, q), x);
}

// The fifth bit of each of 16 elements is one of `high`.
INLINE __m512i fifth(__m512i nibbles, uint32_t high) {
  return _mm512_mask_or_epi32(nibbles, (__mmask16)high, nibbles, _mm512_set1_epi32(16));
}

typedef struct {
  __m512i low, high;
} codes;

INLINE codes five_bits(const uint8_t *high, const uint8_t *at) {
  const __m512i q = bytes(at);
  uint32_t bits;
  memcpy(&bits, high, sizeof bits);
  return (codes){fifth(_mm512_and_si512(q, _mm512_set1_epi32(15)), bits),
                 fifth(_mm512_srli_epi32(q, 4), bits >> 16)};
}

INLINE void q5_0(sums *s, const uint8_t *block, const float *x) {
  const codes q = five_bits(block + 2, block + 6);
  const __m512i middle = _mm512_set1_epi32(16);
  const __m512 d = half(block);
  add(s, times(d, _mm512_sub_epi32(q.low, middle)), times(d, _mm512_sub_epi32(q.high, middle)), x);
}

INLINE void q5_1(sums *s, const uint8_t *block, const float *x) {
  const codes q = five_bits(block + 4, block + 8);
  const __m512 d = half(block);
  const __m512 m = half(block + 2);
  add(s, _mm512_add_ps(times(d, q.low), m), _mm512_add_ps(times(d, q.high), m), x);
}

INLINE void q8_0(sums *s, const uint8_t *block, const float *x) {
  const __m512 d = half(block);
  add(s, times(d, signed_bytes(block + 2)), times(d, signed_bytes(block + 18)), x);
}

// MARK: Blocks of 256

INLINE void unpack_scales(const uint8_t *packed, uint8_t scale[8], uint8_t minimum[8]) {
  uint32_t a, b, c;
  memcpy(&a, packed, 4), memcpy(&b, packed + 4, 4), memcpy(&c, packed + 8, 4);
  const uint32_t scales[2] = {a & 0x3F3F3F3F, (c & 0x0F0F0F0F) | (a >> 2 & 0x30303030)};
  const uint32_t minima[2] = {b & 0x3F3F3F3F, (c >> 4 & 0x0F0F0F0F) | (b >> 2 & 0x30303030)};
  memcpy(scale, scales, 8), memcpy(minimum, minima, 8);
}

INLINE void q4_K(sums *s, const uint8_t *block, const float *x) {
  const __m512 d = half(block), dmin = half(block + 2);
  uint8_t scale[8], minimum[8];
  unpack_scales(block + 4, scale, minimum);
  for (int pair = 0; pair < 4; pair++, x += 64) {
    const __m512i q0 = bytes(block + 16 + 32 * pair), q1 = bytes(block + 32 + 32 * pair);
    const __m512 low = table(scaled(d, scale[2 * pair]), 0, scaled(dmin, -minimum[2 * pair]));
    const __m512 high = table(scaled(d, scale[2 * pair + 1]), 0, scaled(dmin, -minimum[2 * pair + 1]));
    add(s, low_nibbles(low, q0), low_nibbles(low, q1), x);
    add(s, high_nibbles(high, q0), high_nibbles(high, q1), x + 32);
  }
}

INLINE void q5_K(sums *s, const uint8_t *block, const float *x) {
  const __m512 d = half(block), dmin = half(block + 2);
  uint8_t scale[8], minimum[8];
  unpack_scales(block + 4, scale, minimum);
  const __m512i high0 = bytes(block + 16), high1 = bytes(block + 32), four = _mm512_set1_epi32(15);
  for (int group = 0; group < 8; group++, x += 32) {
    const uint8_t *at = block + 48 + 32 * (group / 2);
    const __m512i shift = _mm512_set1_epi32(group % 2 * 4), bit = _mm512_set1_epi32(1 << group);
    const __m512i sixteen = _mm512_set1_epi32(16);
    __m512i q0 = _mm512_and_si512(_mm512_srlv_epi32(bytes(at), shift), four);
    __m512i q1 = _mm512_and_si512(_mm512_srlv_epi32(bytes(at + 16), shift), four);
    q0 = _mm512_mask_or_epi32(q0, _mm512_test_epi32_mask(high0, bit), q0, sixteen);
    q1 = _mm512_mask_or_epi32(q1, _mm512_test_epi32_mask(high1, bit), q1, sixteen);
    const __m512 own = scaled(d, scale[group]), m = scaled(dmin, minimum[group]);
    add(s, _mm512_sub_ps(times(own, q0), m), _mm512_sub_ps(times(own, q1), m), x);
  }
}

// 16 elements of Q6_K: low nibbles `shift` bits up in `low`, high pairs `pair` bits up in `high`.
INLINE __m512 six_bits(__m512i low, int shift, __m512i high, int pair, __m512 scale) {
  const __m512i l = _mm512_and_si512(_mm512_srli_epi32(low, shift), _mm512_set1_epi32(15));
  const __m512i h = _mm512_and_si512(_mm512_srli_epi32(high, pair), _mm512_set1_epi32(3));
  const __m512i q = _mm512_or_si512(l, _mm512_slli_epi32(h, 4));
  return times(scale, _mm512_sub_epi32(q, _mm512_set1_epi32(32)));
}

INLINE void q6_K(sums *s, const uint8_t *block, const float *x) {
  const __m512 d = half(block + 208);
  for (int part = 0; part < 2; part++, x += 128) {
    const uint8_t *low = block + 64 * part, *high = block + 128 + 32 * part;
    const int8_t *scale = (const int8_t *)(block + 192 + 8 * part);
    const __m512i h0 = bytes(high), h1 = bytes(high + 16);
    const __m512i l0 = bytes(low), l1 = bytes(low + 16), l2 = bytes(low + 32), l3 = bytes(low + 48);
    add(s, six_bits(l0, 0, h0, 0, scaled(d, scale[0])), six_bits(l1, 0, h1, 0, scaled(d, scale[1])), x);
    add(s, six_bits(l2, 0, h0, 2, scaled(d, scale[2])), six_bits(l3, 0, h1, 2, scaled(d, scale[3])), x + 32);
    add(s, six_bits(l0, 4, h0, 4, scaled(d, scale[4])), six_bits(l1, 4, h1, 4, scaled(d, scale[5])), x + 64);
    add(s, six_bits(l2, 4, h0, 6, scaled(d, scale[6])), six_bits(l3, 4, h1, 6, scaled(d, scale[7])), x + 96);
  }
}

// MARK: bitsandbytes

// 16 elements from eight bytes, high nibble first: a byte's two codes become the halves of 64 bits.
INLINE __m512 nf4_codes(__m512 values, const uint8_t *at) {
  const __m512i q = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)at));
  const __m512i both = _mm512_or_si512(_mm512_slli_epi64(q, 32), _mm512_srli_epi64(q, 4));
  return _mm512_permutexvar_ps(both, values);
}

INLINE float nf4_absmax(const sw_weight *w, int64_t block) {
  if (w->absmax)
    return w->absmax[block];
  return w->absmax_map[w->absmax_codes[block]] * w->nested_absmax[block / 256] + w->nested_offset;
}

// Rows are whole blocks.
INLINE void dot_nf4(const sw_weight *w, int64_t row, const float *x, sums *s) {
  const int64_t at = row * w->columns;
  const __m512 code = _mm512_loadu_ps(w->code);
  const uint8_t *q = (const uint8_t *)w->data + at / 2;
  for (int64_t k = 0; k < w->columns; k += 64, q += 32) {
    prefetch(q, 32);
    const __m512 values = _mm512_mul_ps(code, _mm512_set1_ps(nf4_absmax(w, (at + k) / 64)));
    add(s, nf4_codes(values, q), nf4_codes(values, q + 8), x + k);
    add(s, nf4_codes(values, q + 16), nf4_codes(values, q + 24), x + k + 32);
  }
}

INLINE __m512 int8_values(const uint8_t *at, __m512 scale) {
  return _mm512_mul_ps(times(scale, signed_bytes(at)), _mm512_set1_ps(1.0f / 127.0f));
}

INLINE void dot_int8(const sw_weight *w, int64_t row, const float *x, sums *s) {
  const uint8_t *q = (const uint8_t *)w->data + row * w->columns;
  const __m512 scale = _mm512_set1_ps(w->row_scale[row]);
  for (int64_t k = 0; k < w->columns; k += 32) {
    prefetch(q + k, 32);
    add(s, int8_values(q + k, scale), int8_values(q + k + 16, scale), x + k);
  }
}

// MARK: 16 and 32 bits

INLINE __m512 bf16_values(const uint8_t *at) {
  const __m256i bits = _mm256_loadu_si256((const __m256i *)at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

INLINE void bf16(sums *s, const uint8_t *at, const float *x) {
  add(s, bf16_values(at), bf16_values(at + 32), x);
}

INLINE void f16(sums *s, const uint8_t *at, const float *x) {
  add(s, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)),
      _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + 32))), x);
}

INLINE void f32(sums *s, const uint8_t *at, const float *x) {
  add(s, _mm512_loadu_ps(at), _mm512_loadu_ps(at + 64), x);
}

// MARK: Rows

#define ROW_OF_BLOCKS(format, elements, size)                                                                \
  INLINE void dot_##format(const sw_weight *w, int64_t row, const float *x, sums *s) {                       \
    const uint8_t *block = (const uint8_t *)w->data + row * (w->columns / (elements)) * (size);              \
    for (int64_t k = 0; k < w->columns; k += (elements), block += (size)) {                                  \
      prefetch(block, size);                                                                                 \
      format(s, block, x + k);                                                                               \
    }                                                                                                        \
  }

ROW_OF_BLOCKS(q4_0, 32, 18)
ROW_OF_BLOCKS(q4_1, 32, 20)
ROW_OF_BLOCKS(q5_0, 32, 22)
ROW_OF_BLOCKS(q5_1, 32, 24)
ROW_OF_BLOCKS(q8_0, 32, 34)
ROW_OF_BLOCKS(q4_K, 256, 144)
ROW_OF_BLOCKS(q5_K, 256, 176)
ROW_OF_BLOCKS(q6_K, 256, 210)
ROW_OF_BLOCKS(bf16, 32, 64)
ROW_OF_BLOCKS(f16, 32, 64)
ROW_OF_BLOCKS(f32, 32, 128)

INLINE float sum_by_halves(__m512 v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#define CASE(FORMAT, format)                                                                                 \
  case FORMAT:                                                                                               \
    for (int64_t j = 0; j < count; j++) {                                                                    \
      sums s = {.rows = m, .stride = stride};                                                                \
      dot_##format(w, sw_weight_file_row(w, first + j), x, &s);                                              \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < m; i++) out[i * out_stride + j] +=              \
          scale * sum_by_halves(_mm512_add_ps(s.first[i], s.second[i]));                                     \
    }                                                                                                        \
    break;

INLINE void dots(const sw_weight *w, int64_t first, int64_t count, float scale, const float *x,
                 int64_t stride, const int m, float *out, int64_t out_stride) {
  switch (w->format) {
    CASE(SW_W_F32, f32)
    CASE(SW_W_F16, f16)
    CASE(SW_W_BF16, bf16)
    CASE(SW_W_Q4_0, q4_0)
    CASE(SW_W_Q4_1, q4_1)
    CASE(SW_W_Q5_0, q5_0)
    CASE(SW_W_Q5_1, q5_1)
    CASE(SW_W_Q8_0, q8_0)
    CASE(SW_W_Q4_K, q4_K)
    CASE(SW_W_Q5_K, q5_K)
    CASE(SW_W_Q6_K, q6_K)
    CASE(SW_W_NF4, nf4)
    CASE(SW_W_INT8, int8)
  }
}

#define DOTS_OF_ROWS(M)                                                                                      \
  KERNEL void dots_##M(const sw_weight *w, int64_t first, int64_t count, float scale, const float *x,        \
                       int64_t stride, float *out, int64_t out_stride) {                                     \
    dots(w, first, count, scale, x, stride, M, out, out_stride);                                             \
  }

DOTS_OF_ROWS(1)
DOTS_OF_ROWS(2)
DOTS_OF_ROWS(3)
DOTS_OF_ROWS(4)

int sw_dots_avx512(const sw_weight *weight, int64_t first, int64_t count, float scale, const float *x,
                   int64_t stride, int m, float *sums, int64_t sums_stride) {
  if (weight->columns % (weight->format == SW_W_NF4 ? 64 : SW_DOT_STEP) != 0 ||
      !__builtin_cpu_supports("avx512bw"))
    return 0;
  (m == 1   ? dots_1
   : m == 2 ? dots_2
   : m == 3 ? dots_3
            : dots_4)(weight, first, count, scale, x, stride, sums, sums_stride);
  return 1;
}
#endif
