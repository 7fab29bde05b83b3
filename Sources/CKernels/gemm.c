// The driver of the matrix product: packs B, walks the tiles, writes C. See include/gemm.h.
#include "include/gemm.h"
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include <string.h>

SW_INLINE int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

SW_INLINE int64_t element_bytes(sw_dtype dtype) { return dtype == SW_F64 ? 8 : dtype == SW_F32 ? 4 : 2; }

// MARK: Epilogue

typedef struct {
  const void *acc; // (rows, columns) of float, or double for SW_F64
  int64_t acc_stride;
  int64_t m0, n0; // the tile's place in C
  int rows, columns;
} tile_sums;

// c = alpha * acc + bias + addend for one tile. Each row is formed in `row` first: c may be the addend, which
// the compiler would otherwise have to assume of every store.
#define STORE_TILE(name, ACC, C, READ, WRITE)                                                                \
  SW_KERNEL static void name(const sw_gemm *g, const tile_sums *t) {                                         \
    const ACC alpha = (ACC)g->alpha;                                                                         \
    const int columns = t->columns;                                                                          \
    for (int i = 0; i < t->rows; i++) {                                                                      \
      ACC row[SW_PANEL * SW_MAX_TILE_PANELS];                                                                \
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
  }

#define SAME(x) (x)
STORE_TILE(store_f32, float, float, SAME, SAME)
STORE_TILE(store_bf16, float, sw_bf16, sw_from_bf16, sw_to_bf16)
STORE_TILE(store_f64, double, double, SAME, SAME)

// C transposed: c[n, m] (+)= alpha * acc, for weight gradients (float) from any arithmetic.
SW_KERNEL static void store_transposed(const sw_gemm *g, const tile_sums *t) {
  const int wide = g->a.dtype == SW_F64;
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
  else if (g->a.dtype == SW_F64)
    (g->c.dtype == SW_F64 ? store_f64 : store_f64_as_f32)(g, t);
  else
    (g->c.dtype == SW_BF16 ? store_bf16 : store_f32)(g, t);
}

// MARK: A few rows: dot products, no packing

enum { DOT_ROWS = 4, DOT_SEGMENT = 256 };

SW_KERNEL static float dot(const float *x, const float *y, int64_t count) {
  float lanes[32] = {0};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int j = 0; j < 32; j++)
      lanes[j] += x[i + j] * y[i + j];
  for (int64_t j = 0; i + j < count; j++)
    lanes[j] += x[i + j] * y[i + j];
  for (int width = 16; width > 0; width /= 2)
    for (int j = 0; j < width; j++)
      lanes[j] += lanes[j + width];
  return lanes[0];
}

// Decoding one token at a time reads each weight once for a handful of rows: packing would cost more than the
// product.
static int uses_dots(const sw_gemm *g) {
  return g->b_kind == SW_B_WEIGHT_ROWS && g->m <= DOT_ROWS && g->a.dtype != SW_F64 && !g->a_transposed &&
         !g->c_transposed;
}

static void run_dots(const sw_gemm *g, int64_t n0, int64_t n1, float *scratch) {
  float *x = scratch, *segment = x + g->m * g->k;
  for (int64_t i = 0; i < g->m; i++)
    sw_widen(g->a.dtype, (const char *)g->a.data + i * g->a.stride * element_bytes(g->a.dtype), g->k,
             x + i * g->k);
  for (int64_t n = n0; n < n1; n++) {
    float sums[DOT_ROWS] = {0};
    for (int64_t k = 0; k < g->k; k += DOT_SEGMENT) {
      const int64_t count = g->k - k < DOT_SEGMENT ? g->k - k : DOT_SEGMENT;
      sw_weight_decode(&g->weight, n, k, count, segment);
      for (int64_t i = 0; i < g->m; i++)
        sums[i] += dot(x + i * g->k + k, segment, count);
    }
    store(g, &(tile_sums){sums, 1, 0, n, (int)g->m, 1});
  }
}

// MARK: Tiles

// k is taken in blocks of at most this: a block of packed columns stays in cache, and sums of long products
// (the head's input gradient adds up a whole vocabulary) are sums of short ones, which keeps their rounding
// errors small. A multiple of every format's block and of every kernel's k_multiple.
enum { K_BLOCK = 2048 };

// How one call's scratch is laid out.
typedef struct {
  sw_microkernel kernel;
  int64_t panels, panel_bytes; // of one block of k
  int64_t staged_bytes;        // rows of A, copied and padded; 0 when A is read in place
  int64_t sums_stride;         // of the sums that wait for the next block of k
  int64_t sums_bytes;          // 0 when there is one block
} tile_layout;

static tile_layout layout_for(const sw_gemm *g, int64_t rows, int64_t columns, sw_isa isa) {
  const sw_microkernel kernel = sw_microkernel_for(g->a.dtype, isa);
  const int64_t k = round_up(g->k < K_BLOCK ? g->k : K_BLOCK, kernel.k_multiple);
  const int stages = g->a_transposed || g->k % kernel.k_multiple != 0;
  const int64_t panels = round_up(columns, SW_PANEL) / SW_PANEL;
  return (tile_layout){
      .kernel = kernel,
      .panels = panels,
      .panel_bytes = k * SW_PANEL * element_bytes(kernel.packed),
      .staged_bytes = stages ? round_up(SW_MAX_TILE_ROWS * k * element_bytes(g->a.dtype), 64) : 0,
      .sums_stride = panels * SW_PANEL,
      .sums_bytes = g->k > K_BLOCK ? rows * panels * SW_PANEL * (g->a.dtype == SW_F64 ? 8 : 4) : 0,
  };
}

int64_t sw_gemm_scratch_bytes(const sw_gemm *g, int64_t rows, int64_t columns, sw_isa isa) {
  if (uses_dots(g))
    return round_up((g->m * g->k + DOT_SEGMENT) * 4, 64);
  const tile_layout layout = layout_for(g, rows, columns, isa);
  return layout.panels * layout.panel_bytes + layout.staged_bytes + layout.sums_bytes +
         sw_pack_scratch_bytes();
}

// Rows [m, m + rows) of A from column k on, copied when they cannot be read in place.
typedef struct {
  const void *data;
  int64_t stride;
} a_rows;

static a_rows rows_of_a(const sw_gemm *g, const tile_layout *layout, int64_t m, int rows, sw_k_range k,
                        void *staged) {
  if (layout->staged_bytes > 0) {
    sw_stage_a(g, m, rows, k, staged);
    return (a_rows){staged, k.padded};
  }
  return (a_rows){(const char *)g->a.data + (m * g->a.stride + k.first) * element_bytes(g->a.dtype),
                  g->a.stride};
}

void sw_gemm_tile(const sw_gemm *g, sw_isa isa, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                  void *scratch) {
  if (uses_dots(g))
    return run_dots(g, n0, n1, scratch);
  const tile_layout layout = layout_for(g, m1 - m0, n1 - n0, isa);
  const sw_microkernel *kernel = &layout.kernel;
  const int64_t sum_bytes = g->a.dtype == SW_F64 ? 8 : 4;
  char *panels = scratch, *staged = panels + layout.panels * layout.panel_bytes;
  char *sums = staged + layout.staged_bytes, *rest = sums + layout.sums_bytes;
  alignas(64) double tile[SW_MAX_TILE_ROWS * SW_PANEL * SW_MAX_TILE_PANELS];

  for (int64_t first = 0; first < g->k; first += K_BLOCK) {
    const int64_t count = g->k - first < K_BLOCK ? g->k - first : K_BLOCK;
    const sw_k_range k = {first, count, round_up(count, kernel->k_multiple)};
    const int is_last = first + count == g->k;
    sw_pack_b(g, kernel->packed, k, n0, n1, panels, layout.panel_bytes, rest);
    for (int64_t m = m0; m < m1; m += kernel->rows) {
      const int rows = (int)(m1 - m < kernel->rows ? m1 - m : kernel->rows);
      const a_rows a = rows_of_a(g, &layout, m, rows, k, staged);
      for (int64_t p = 0; p < layout.panels; p += kernel->panels) {
        const int taken = (int)(layout.panels - p < kernel->panels ? layout.panels - p : kernel->panels);
        void *acc = layout.sums_bytes ? sums + ((m - m0) * layout.sums_stride + p * SW_PANEL) * sum_bytes
                                      : (void *)tile;
        const int64_t stride = layout.sums_bytes ? layout.sums_stride : taken * SW_PANEL;
        kernel->run(k.padded, a.data, a.stride, rows, panels + p * layout.panel_bytes, layout.panel_bytes,
                    taken, acc, stride, first > 0);
        if (!is_last)
          continue;
        const int64_t n = n0 + p * SW_PANEL, left = n1 - n;
        const int columns = (int)(left < taken * SW_PANEL ? left : taken * SW_PANEL);
        store(g, &(tile_sums){acc, stride, m, n, rows, columns});
      }
    }
  }
}
