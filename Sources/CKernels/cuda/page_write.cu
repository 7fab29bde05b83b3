// Rows on their way into pages (PagedAttention.swift): q is rotated where it lies, k is rotated and v copied
// to their slots.
#include "common.cuh"

struct page_write {
  matrix q, k, v;
  const int32_t *positions, *slots;
  const float *cosine, *sine;
  void *k_pages, *v_pages;
  int64_t page_stride; // elements
  int32_t page_size, head_size, rotary;
};

template <typename T, int V> DEVICE vec<T, V> load(const T *from) { return *(const vec<T, V> *)from; }
template <typename T, int V> DEVICE void store(T *to, const vec<T, V> &value) { *(vec<T, V> *)to = value; }

// Item `item` of a row's: V pairs of one head that are turned, or V columns that are not. See `rotary` in
// elementwise.cu.
template <typename T, int V>
DEVICE void rotate(const page_write &w, const T *from, T *to, int position, int item) {
  const int half = w.rotary / 2, items = (half + w.head_size - w.rotary) / V;
  const int head = item / items * w.head_size, c = item % items * V;
  from += head, to += head;
  if (c >= half)
    return store(to + half + c, load<T, V>(from + half + c));
  const int64_t angle = (int64_t)position * half + c;
  const auto cosine = load<float, V>(w.cosine + angle), sine = load<float, V>(w.sine + angle);
  const auto a = load<T, V>(from + c), b = load<T, V>(from + half + c);
  vec<T, V> first, second;
#pragma unroll
  for (int i = 0; i < V; i++) {
    const float u = to_float(a.at[i]), v = to_float(b.at[i]);
    first.at[i] = from_float<T>(u * cosine.at[i] - v * sine.at[i]);
    second.at[i] = from_float<T>(v * cosine.at[i] + u * sine.at[i]);
  }
  store(to + c, first);
  store(to + half + c, second);
}

// A thread takes an item of q, k or v; blockIdx.y counts rows, in steps of gridDim.y.
template <typename T, int V> DEVICE void write(const page_write &w) {
  const int per_head = (w.rotary / 2 + w.head_size - w.rotary) / V;
  const int of_q = (int)w.q.columns / w.head_size * per_head,
            of_k = (int)w.k.columns / w.head_size * per_head;
  let_successor_begin();
  int item = blockIdx.x * blockDim.x + threadIdx.x;
  bool waits = true;
  for (int64_t r = blockIdx.y; r < w.q.rows; r += gridDim.y) {
    const int slot = w.slots[r], position = w.positions[r]; // older than the step
    if (waits)
      wait_for_predecessors();
    waits = false;
    const int64_t at = slot / w.page_size * w.page_stride + slot % w.page_size * w.k.columns;
    if (item < of_q) {
      T *q = row<T>(w.q, r);
      rotate<T, V>(w, q, q, position, item);
    } else if (slot < 0) {
      continue;
    } else if (item < of_q + of_k) {
      rotate<T, V>(w, row<T>(w.k, r), (T *)w.k_pages + at, position, item - of_q);
    } else {
      const int64_t c = (int64_t)(item - of_q - of_k) * V;
      if (c < w.v.columns)
        store((T *)w.v_pages + at + c, load<T, V>(row<T>(w.v, r) + c));
    }
  }
}

KERNEL page_write_f32_x4(const __grid_constant__ page_write w) { write<float, 4>(w); }
KERNEL page_write_f32_x1(const __grid_constant__ page_write w) { write<float, 1>(w); }
KERNEL page_write_bf16_x8(const __grid_constant__ page_write w) { write<bf16, 8>(w); }
KERNEL page_write_bf16_x1(const __grid_constant__ page_write w) { write<bf16, 1>(w); }
