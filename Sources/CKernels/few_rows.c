#include "include/few_rows.h"
#include "include/dot.h"
#include "vector_math.h"

// Columns and rows that are summed before they are written.
enum { COLUMNS = 128, ROWS = 8 };

SW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t element_bytes(sw_dtype dtype) { return dtype == SW_F32 ? 4 : 2; }
SW_INLINE const char *row_of(sw_matrix m, int64_t row, int64_t column) {
  return (const char *)m.data + (row * m.stride + column) * element_bytes(m.dtype);
}

// Rows [row, row + rows) of x and of each adapter's columns of h as floats, filled up with zeros.
typedef struct {
  int64_t row, rows;
  float *x; // (rows, padded in)
  float *h; // (rows, padded rank) of one adapter behind the other
  float *decoded;
} inputs;

static int64_t padded_ranks(const sw_few_rows *f) {
  int64_t ranks = 0;
  for (int p = 0; p < f->part_count; p++)
    ranks += f->parts[p].up.data ? sw_dot_padded(f->parts[p].up.columns) : 0;
  return ranks;
}

int64_t sw_few_rows_scratch_bytes(const sw_few_rows *f) {
  const int64_t in = sw_dot_padded(f->x.columns), ranks = padded_ranks(f);
  return (least(ROWS, f->x.rows) * (in + ranks) + (in > ranks ? in : ranks)) * (int64_t)sizeof(float);
}

static inputs widen(const sw_few_rows *f, int64_t row, float *scratch) {
  const int64_t rows = least(ROWS, f->x.rows - row), in = sw_dot_padded(f->x.columns);
  inputs all = {row, rows, scratch, scratch + rows * in, NULL};
  for (int64_t i = 0; i < rows; i++)
    sw_dot_row(f->x.dtype, row_of(f->x, row + i, 0), f->x.columns, all.x + i * in);
  all.decoded = all.h;
  for (const sw_part *part = f->parts; part < f->parts + f->part_count; part++)
    for (int64_t i = 0; i < rows && part->up.data; i++) {
      sw_dot_row(f->h.dtype, row_of(f->h, row + i, part->up_column), part->up.columns, all.decoded);
      all.decoded += sw_dot_padded(part->up.columns);
    }
  return all;
}

// sums (rows, COLUMNS): `count` outputs of part p from `first` on, for all rows.
static void sum(const sw_few_rows *f, int p, int64_t first, int64_t count, const inputs *in, float *sums) {
  const sw_part *part = &f->parts[p];
  const float *h = in->h;
  for (int before = 0; before < p; before++)
    h += f->parts[before].up.data ? in->rows * sw_dot_padded(f->parts[before].up.columns) : 0;
  memset(sums, 0, (size_t)(in->rows * COLUMNS) * sizeof(float));
  sw_dots(&part->weight, first, count, 1, in->x, sw_dot_padded(f->x.columns), in->rows, sums, COLUMNS,
          in->decoded);
  if (part->up.data)
    sw_dots(&part->up, first, count, part->up_scale, h, sw_dot_padded(part->up.columns), in->rows, sums,
            COLUMNS, in->decoded);
  for (int64_t i = 0; i < in->rows && part->bias; i++)
    for (int64_t j = 0; j < count; j++)
      sums[i * COLUMNS + j] += part->bias[first + j];
}

// Clears the sums of columns whose adapter is not the row's.
static void select_adapters(const sw_few_rows *f, const inputs *in, int64_t first, int64_t count,
                            float *sums) {
  for (int64_t i = 0; i < in->rows; i++)
    for (int64_t j = 0; j < count; j++)
      if (f->owners[first + j] != f->adapters[in->row + i])
        sums[i * COLUMNS + j] = 0;
}

// (One loop for both cases would load what is masked out of no addend: processors take hundreds of cycles to
// find that no fault.)
#define STORE(name, stored)                                                                                  \
  SW_KERNEL static void name(const float *sums, const stored *addend, int64_t count, stored *out) {          \
    if (addend) {                                                                                            \
      SW_VECTOR                                                                                              \
      for (int64_t j = 0; j < count; j++)                                                                    \
        sw_store(&out[j], sums[j] + sw_load(&addend[j]));                                                    \
    } else {                                                                                                 \
      SW_VECTOR                                                                                              \
      for (int64_t j = 0; j < count; j++)                                                                    \
        sw_store(&out[j], sums[j]);                                                                          \
    }                                                                                                        \
  }
STORE(store_f32, float)
STORE(store_bf16, sw_bf16)

// Columns [first, first + count) of the rows' sums, to out.
static void store(const sw_few_rows *f, const inputs *in, int64_t first, int64_t count, const float *sums) {
  for (int64_t i = 0; i < in->rows; i++) {
    const void *addend = f->addend.data ? row_of(f->addend, in->row + i, first) : NULL;
    void *out = (void *)row_of(f->out, in->row + i, first);
    if (f->out.dtype == SW_F32)
      store_f32(sums + i * COLUMNS, addend, count, out);
    else
      store_bf16(sums + i * COLUMNS, addend, count, out);
  }
}

void sw_run_few_rows(const sw_few_rows *f, int64_t begin, int64_t end, void *scratch) {
  for (int64_t row = 0; row < f->x.rows; row += ROWS) {
    const inputs in = widen(f, row, scratch);
    int p = 0;
    for (int64_t first = begin, start = 0, count; first < end; first += count) {
      float sums[ROWS * COLUMNS], ups[ROWS * COLUMNS];
      for (; first >= start + f->parts[p].weight.rows; p++)
        start += f->parts[p].weight.rows;
      count = least(COLUMNS, least(end, start + f->parts[p].weight.rows) - first);
      sum(f, p, first - start, count, &in, sums);
      if (f->gated) {
        sum(f, 1, first, count, &in, ups);
        const sw_matrix gate = {sums, in.rows, count, COLUMNS, SW_F32},
                        up = {ups, in.rows, count, COLUMNS, SW_F32};
        sw_gated_activation(f->activation, gate, up, gate, 0, in.rows);
      }
      if (f->owners)
        select_adapters(f, &in, first, count, sums);
      store(f, &in, first, count, sums);
    }
  }
}
