// The driver of the matrix product: packs B, walks the tiles, writes C. See include/gemm.h.
#include "include/gemm.h"
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include "include/dot.h"
#include "vector_math.h"
#include <string.h>

SW_INLINE int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

SW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

SW_INLINE int64_t element_bytes(sw_dtype dtype) { return dtype == SW_F64 ? 8 : dtype == SW_F32 ? 4 : 2; }

SW_INLINE sw_dtype arithmetic(const sw_gemm *g) { return g->terms[0].a.dtype; }

// MARK: Epilogue

typedef struct {
  const void *acc; // (rows, columns) of float, or double for SW_F64
  int64_t acc_stride;
  int64_t m0, n0; // the tile's place in C
  int rows, columns;
} tile_sums;

enum { FULL_COLUMNS = SW_PANEL * SW_MAX_TILE_PANELS };

// c = alpha * acc + bias + addend for one tile. Each row is formed in `row` first: c may be the addend, which
// the compiler would otherwise have to assume of every store. Most tiles are of full width, which they tell
// the compiler: their rows stay in registers.
#define STORE_TILE(name, ACC, C, READ, WRITE)                                                                \
  SW_INLINE void name##_rows(const sw_gemm *g, const tile_sums *t, const int columns) {                      \
    const ACC alpha = (ACC)g->alpha;                                                                         \
    for (int i = 0; i < t->rows; i++) {                                                                      \
      ACC row[FULL_COLUMNS];                                                                                 \
      const ACC *acc = (const ACC *)t->acc + i * t->acc_stride;                                              \
      for (int j = 0; j < columns; j++)                                                                      \
        row[j] = alpha * acc[j];                                                                             \
      if (g->bias) {                                                                                         \
        const float *bias = g->bias + t->n0;                                                                 \
        for (int j = 0; j < columns; j++)                                                                    \
          row[j] += (ACC)bias[j];                                                                            \
      }                                                                                                      \
      if (g->addend.data) {                                                                                  \
        const C *addend = (const C *)g->addend.data + (t->m0 + i) * g->addend.stride + t->n0;                \
        for (int j = 0; j < columns; j++)                                                                    \
          row[j] += (ACC)READ(addend[j]);                                                                    \
      }                                                                                                      \
      C *c = (C *)g->c.data + (t->m0 + i) * g->c.stride + t->n0;                                             \
      for (int j = 0; j < columns; j++)                                                                      \
        c[j] = WRITE(row[j]);                                                                                \
    }                                                                                                        \
  }                                                                                                          \
  SW_KERNEL static void name(const sw_gemm *g, const tile_sums *t) {                                         \
    if (t->columns == FULL_COLUMNS)                                                                          \
      name##_rows(g, t, FULL_COLUMNS);                                                                       \
    else                                                                                                     \
      name##_rows(g, t, t->columns);                                                                         \
  }

#define SAME(x) (x)
STORE_TILE(store_f32, float, float, SAME, SAME)
STORE_TILE(store_bf16, float, sw_bf16, sw_from_bf16, sw_to_bf16)
STORE_TILE(store_f64, double, double, SAME, SAME)

// C transposed: c[n, m] (+)= alpha * acc, for weight gradients (float) from any arithmetic.
SW_KERNEL static void store_transposed(const sw_gemm *g, const tile_sums *t) {
  const int wide = arithmetic(g) == SW_F64;
  for (int j = 0; j < t->columns; j++) {
    float *c = (float *)g->c.data + (t->n0 + j) * g->c.stride + t->m0;
    for (int i = 0; i < t->rows; i++) {
      const int64_t at = i * t->acc_stride + j;
      double value = g->alpha * (wide ? ((const double *)t->acc)[at] : (double)((const float *)t->acc)[at]);
      c[i] = (float)(g->addend.data ? value + c[i] : value);
    }
  }
}

// A float C from double arithmetic (weight gradients in gradient checks).
SW_KERNEL static void store_f64_as_f32(const sw_gemm *g, const tile_sums *t) {
  for (int i = 0; i < t->rows; i++) {
    const double *acc = (const double *)t->acc + i * t->acc_stride;
    float *c = (float *)g->c.data + (t->m0 + i) * g->c.stride + t->n0;
    for (int j = 0; j < t->columns; j++)
      c[j] = (float)(g->alpha * acc[j] + (g->addend.data ? c[j] : 0));
  }
}

static void store(const sw_gemm *g, const tile_sums *t) {
  if (g->c_transposed)
    store_transposed(g, t);
  else if (arithmetic(g) == SW_F64)
    (g->c.dtype == SW_F64 ? store_f64 : store_f64_as_f32)(g, t);
  else
    (g->c.dtype == SW_BF16 ? store_bf16 : store_f32)(g, t);
}

// MARK: A few rows: dot products, no packing

enum { DOT_ROWS = 8 };

// Decoding one token at a time reads each weight once for a handful of rows: packing would cost more than the
// product.
static int uses_dots(const sw_gemm *g) {
  if (g->m > DOT_ROWS || arithmetic(g) == SW_F64 || g->c_transposed)
    return 0;
  for (int t = 0; t < g->term_count; t++)
    if (g->terms[t].b_kind != SW_B_WEIGHT_ROWS || g->terms[t].a_transposed)
      return 0;
  return 1;
}

// Floats of scratch: the terms' rows of A one after the other, (m, padded k) each, and a row of a weight.
static int64_t dots_scratch(const sw_gemm *g) {
  int64_t rows = 0, longest = 0;
  for (int t = 0; t < g->term_count; t++) {
    const int64_t k = sw_dot_padded(g->terms[t].k);
    rows += g->m * k;
    longest = k > longest ? k : longest;
  }
  return rows + longest;
}

static void run_dots(const sw_gemm *g, int64_t n0, int64_t n1, float *scratch) {
  const float *rows[SW_MAX_TERMS];
  for (int t = 0; t < g->term_count; t++) {
    const sw_term *term = &g->terms[t];
    const int64_t size = element_bytes(term->a.dtype), padded = sw_dot_padded(term->k);
    rows[t] = scratch;
    for (int64_t i = 0; i < g->m; i++, scratch += padded)
      sw_dot_row(term->a.dtype, (const char *)term->a.data + i * term->a.stride * size, term->k, scratch);
  }
  for (int64_t n = n0; n < n1; n += SW_PANEL) {
    const int columns = (int)least(SW_PANEL, n1 - n);
    float sums[DOT_ROWS * SW_PANEL] = {0};
    for (int t = 0; t < g->term_count; t++) {
      const sw_term *term = &g->terms[t];
      sw_dots(&term->weight, n, columns, term->scale, rows[t], sw_dot_padded(term->k), g->m, sums, SW_PANEL,
              scratch);
    }
    store(g, &(tile_sums){sums, SW_PANEL, 0, n, (int)g->m, columns});
  }
}

// MARK: Tiles

// Walks through the blocks of k.
typedef struct {
  int term;
  int64_t first;
} k_position;

// k, all terms' together, is taken in blocks of the micro-kernel's k_block, the last a quarter more rather
// than a small one of its own: so a block of packed columns and the rows it meets stay in cache, and sums of
// long products (the head's input gradient adds up a whole vocabulary) are sums of short ones, which keeps
// their rounding errors small.
static int64_t next_k(const sw_gemm *g, const sw_microkernel *kernel, const k_position *at) {
  int64_t left = -at->first;
  for (int t = at->term; t < g->term_count; t++)
    left += g->terms[t].k;
  return left > kernel->k_block + kernel->k_block / 4 ? kernel->k_block : left;
}

// A piece of one term within a block of k.
typedef struct {
  const sw_term *term;
  sw_k_range k;
  int64_t panels; // packed columns, panel_bytes apart: where in scratch
  int64_t panel_bytes;
  int64_t staged; // copied rows of A: where in scratch; -1 when they are read in place
} k_piece;

typedef struct {
  k_piece pieces[SW_MAX_TERMS];
  int count;
  int is_last;
} k_block;

static int stages_a(const sw_term *term, const sw_microkernel *kernel) {
  return term->a_transposed || term->k % kernel->k_multiple != 0;
}

// The next block, and in `used` the bytes of scratch that its panels, `panels` a piece, and staged rows take.
static k_block next_block(const sw_gemm *g, const sw_microkernel *kernel, int64_t panels, k_position *at,
                          int64_t *used) {
  k_block block = {.count = 0};
  int64_t room = next_k(g, kernel, at);
  *used = 0;
  while (at->term < g->term_count && room > 0) {
    const sw_term *term = &g->terms[at->term];
    // A cut must fall between blocks of every storage format.
    const int64_t left = term->k - at->first, count = left <= room ? left : room / 256 * 256;
    if (count == 0)
      break;
    k_piece *piece = &block.pieces[block.count++];
    *piece =
        (k_piece){.term = term, .k = {at->first, count, round_up(count, kernel->k_multiple)}, .staged = -1};
    piece->panel_bytes = piece->k.padded * SW_PANEL * element_bytes(kernel->packed);
    piece->panels = *used;
    *used += panels * piece->panel_bytes;
    if (stages_a(term, kernel)) {
      piece->staged = *used;
      *used += round_up(SW_MAX_TILE_ROWS * piece->k.padded * element_bytes(term->a.dtype), 64);
    }
    room -= count;
    at->first += count;
    if (at->first == term->k)
      *at = (k_position){at->term + 1, 0};
  }
  block.is_last = at->term == g->term_count;
  return block;
}

SW_INLINE int64_t panel_count(int64_t columns) { return round_up(columns, SW_PANEL) / SW_PANEL; }

// Bytes of the largest block, and whether there are several.
static int64_t block_bytes(const sw_gemm *g, const sw_microkernel *kernel, int64_t panels, int *several) {
  k_position at = {0, 0};
  int64_t most = 0;
  for (int blocks = 1;; blocks++) {
    int64_t bytes;
    const k_block block = next_block(g, kernel, panels, &at, &bytes);
    most = bytes > most ? bytes : most;
    *several = blocks > 1;
    if (block.is_last)
      return most;
  }
}

// Sums that wait for the next block of k.
static int64_t sums_bytes(const sw_gemm *g, int64_t rows, int64_t panels, int several) {
  return several ? rows * panels * SW_PANEL * (arithmetic(g) == SW_F64 ? 8 : 4) : 0;
}

int64_t sw_gemm_k_block(sw_dtype dtype, sw_isa isa) { return sw_microkernel_for(dtype, isa).k_block; }

int64_t sw_gemm_scratch_bytes(const sw_gemm *g, int64_t rows, int64_t columns, sw_isa isa) {
  if (uses_dots(g))
    return round_up(dots_scratch(g) * (int64_t)sizeof(float), 64);
  const sw_microkernel kernel = sw_microkernel_for(arithmetic(g), isa);
  const int64_t panels = panel_count(columns);
  int several;
  const int64_t block = block_bytes(g, &kernel, panels, &several);
  return block + sums_bytes(g, rows, panels, several) + sw_pack_scratch_bytes();
}

// One tile of sums: all pieces of a block, added to what earlier blocks left.
static void run_tile(const k_block *block, const sw_microkernel *kernel, const char *scratch, int64_t m,
                     int rows, int64_t panel, int panels, void *sums, int64_t sums_stride, int accumulate) {
  sw_stretch stretches[SW_MAX_TERMS];
  for (int i = 0; i < block->count; i++) {
    const k_piece *piece = &block->pieces[i];
    const sw_matrix *a = &piece->term->a;
    const char *in_place = (const char *)a->data + (m * a->stride + piece->k.first) * element_bytes(a->dtype);
    stretches[i] = (sw_stretch){.k = piece->k.padded,
                                .a = piece->staged < 0 ? in_place : scratch + piece->staged,
                                .lda = piece->staged < 0 ? a->stride : piece->k.padded,
                                .b = scratch + piece->panels + panel * piece->panel_bytes,
                                .panel_bytes = piece->panel_bytes};
  }
  kernel->run(stretches, block->count, rows, panels, sums, sums_stride, accumulate);
}

static void prefetch_row(const sw_matrix *matrix, int64_t row, int64_t first, int64_t count) {
  const int64_t size = element_bytes(matrix->dtype);
  const char *at = (const char *)matrix->data + (row * matrix->stride + first) * size;
  for (int64_t byte = 0; byte < count * size; byte += 64)
    __builtin_prefetch(at + byte, 0, 3);
}

// Asks for what rows [first, last) will read and write, columns [n0, n1), so that it is there when they are
// reached: the processor itself does not foresee reads that go down fourteen rows at once.
static void prefetch_rows(const sw_gemm *g, const k_block *block, int64_t first, int64_t last, int64_t n0,
                          int64_t n1) {
  for (int64_t m = first; m < last; m++) {
    for (int i = 0; i < block->count; i++)
      if (block->pieces[i].staged < 0)
        prefetch_row(&block->pieces[i].term->a, m, block->pieces[i].k.first, block->pieces[i].k.count);
    if (block->is_last && !g->c_transposed) {
      prefetch_row(&g->c, m, n0, n1 - n0);
      if (g->addend.data && g->addend.data != g->c.data)
        prefetch_row(&g->addend, m, n0, n1 - n0);
    }
  }
}

void sw_gemm_tile(const sw_gemm *g, sw_isa isa, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                  void *scratch) {
  if (uses_dots(g))
    return run_dots(g, n0, n1, scratch);
  const sw_microkernel kernel = sw_microkernel_for(arithmetic(g), isa);
  const int64_t panels = panel_count(n1 - n0), sum_size = arithmetic(g) == SW_F64 ? 8 : 4;
  int several;
  char *sums = (char *)scratch + block_bytes(g, &kernel, panels, &several);
  char *rest = sums + sums_bytes(g, m1 - m0, panels, several);
  alignas(64) double tile[SW_MAX_TILE_ROWS * SW_PANEL * SW_MAX_TILE_PANELS];

  k_position at = {0, 0};
  for (int is_last = 0, is_first = 1; !is_last; is_first = 0) {
    int64_t used;
    const k_block block = next_block(g, &kernel, panels, &at, &used);
    is_last = block.is_last;
    for (int i = 0; i < block.count; i++)
      sw_pack_b(block.pieces[i].term, kernel.packed, block.pieces[i].k, n0, n1,
                (char *)scratch + block.pieces[i].panels, block.pieces[i].panel_bytes, rest);
    for (int64_t m = m0; m < m1; m += kernel.rows) {
      const int rows = (int)least(m1 - m, kernel.rows);
      for (int i = 0; i < block.count; i++)
        if (block.pieces[i].staged >= 0)
          sw_stage_a(block.pieces[i].term, m, rows, block.pieces[i].k,
                     (char *)scratch + block.pieces[i].staged);
      for (int64_t p = 0; p < panels; p += kernel.panels) {
        const int taken = (int)(panels - p < kernel.panels ? panels - p : kernel.panels);
        const int64_t stride = (several ? panels : taken) * SW_PANEL;
        void *acc = several ? sums + ((m - m0) * stride + p * SW_PANEL) * sum_size : (char *)tile;
        // A share of the next tile's rows with each pair of panels.
        prefetch_rows(g, &block, least(m1, m + rows + rows * p / panels),
                      least(m1, m + rows + rows * (p + taken) / panels), n0, n1);
        run_tile(&block, &kernel, scratch, m, rows, p, taken, acc, stride, !is_first);
        if (!is_last)
          continue;
        const int64_t n = n0 + p * SW_PANEL, left = n1 - n;
        const int columns = (int)(left < taken * SW_PANEL ? left : taken * SW_PANEL);
        store(g, &(tile_sums){acc, stride, m, n, rows, columns});
      }
    }
  }
}
