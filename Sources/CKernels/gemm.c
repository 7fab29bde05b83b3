// The driver of the matrix product: packs B, walks the tiles, writes C. See include/gemm.h.
#include "include/gemm.h"
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include <string.h>

SW_INLINE int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

SW_INLINE int64_t element_bytes(sw_dtype dtype) { return dtype == SW_F64 ? 8 : dtype == SW_F32 ? 4 : 2; }

// MARK: Epilogue

typedef struct {
  const void *acc;      // (rows, columns) of float, or double for SW_F64
  int64_t acc_stride;
  int64_t m0, n0;       // the tile's place in C
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
    sw_widen(g->a.dtype, (const char *)g->a.data + i * g->a.stride * element_bytes(g->a.dtype), g->k, x + i * g->k);
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

static int64_t panel_bytes(const sw_gemm *g, sw_microkernel kernel) {
  return round_up(g->k, kernel.k_multiple) * SW_PANEL * element_bytes(kernel.packed);
}

// Whether rows of A are copied (and padded) before use.
static int stages_a(const sw_gemm *g, sw_microkernel kernel) {
  return g->a_transposed || g->k % kernel.k_multiple != 0;
}

int64_t sw_gemm_scratch_bytes(const sw_gemm *g, int64_t columns, sw_isa isa) {
  if (uses_dots(g))
    return round_up((g->m * g->k + DOT_SEGMENT) * 4, 64);
  const sw_microkernel kernel = sw_microkernel_for(g->a.dtype, isa);
  const int64_t staged = stages_a(g, kernel)
                             ? SW_MAX_TILE_ROWS * round_up(g->k, kernel.k_multiple) * element_bytes(g->a.dtype)
                             : 0;
  return round_up(columns, SW_PANEL) / SW_PANEL * panel_bytes(g, kernel) + round_up(staged, 64) +
         sw_pack_scratch_bytes();
}

void sw_gemm_tile(const sw_gemm *g, sw_isa isa, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
  if (uses_dots(g))
    return run_dots(g, n0, n1, scratch);
  const sw_microkernel kernel = sw_microkernel_for(g->a.dtype, isa);
  const int64_t bytes = panel_bytes(g, kernel), count = round_up(n1 - n0, SW_PANEL) / SW_PANEL;
  const int64_t k = round_up(g->k, kernel.k_multiple), size = element_bytes(g->a.dtype);
  char *panels = scratch, *staged = panels + count * bytes;
  char *rest = staged + (stages_a(g, kernel) ? round_up(SW_MAX_TILE_ROWS * k * size, 64) : 0);
  sw_pack_b(g, kernel.packed, k, n0, n1, panels, bytes, rest);

  alignas(64) double acc[SW_MAX_TILE_ROWS * SW_PANEL * SW_MAX_TILE_PANELS];
  for (int64_t m = m0; m < m1; m += kernel.rows) {
    const int rows = (int)(m1 - m < kernel.rows ? m1 - m : kernel.rows);
    const char *a = (const char *)g->a.data + m * g->a.stride * size;
    int64_t lda = g->a.stride;
    if (stages_a(g, kernel)) {
      sw_stage_a(g, m, rows, k, staged);
      a = staged;
      lda = k;
    }
    for (int64_t p = 0; p < count; p += kernel.panels) {
      const int taken = (int)(count - p < kernel.panels ? count - p : kernel.panels);
      kernel.run(k, a, lda, rows, panels + p * bytes, bytes, taken, acc, taken * SW_PANEL, 0);
      const int64_t n = n0 + p * SW_PANEL, left = n1 - n;
      const int columns = (int)(left < taken * SW_PANEL ? left : taken * SW_PANEL);
      store(g, &(tile_sums){acc, taken * SW_PANEL, m, n, rows, columns});
    }
  }
}
