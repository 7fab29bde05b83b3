// Element-wise operations: what ../elementwise.c, ../gated_activation.c, ../rotary.c and ../dropout.c do.
//
// A thread takes V neighbouring elements of a row; blockIdx.y counts rows, in steps of gridDim.y.
#include "common.cuh"

#define EACH(V, m)                                                                                           \
  int64_t c = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;                                          \
  if (c >= m.columns)                                                                                        \
    return;                                                                                                  \
  for (int64_t r = blockIdx.y; r < m.rows; r += gridDim.y)

template <typename T, int V> DEVICE vec<T, V> load(const matrix &m, int64_t r, int64_t c) {
  return *(const vec<T, V> *)(row<T>(m, r) + c);
}
template <typename T, int V>
DEVICE void store(const matrix &m, int64_t r, int64_t c, const vec<T, V> &value) {
  *(vec<T, V> *)(row<T>(m, r) + c) = value;
}

// y = a + b
template <typename T, int V> DEVICE void add(matrix a, matrix b, matrix y) {
  EACH(V, y) {
    vec<T, V> u = load<T, V>(a, r, c), v = load<T, V>(b, r, c), out;
#pragma unroll
    for (int i = 0; i < V; i++)
      out.at[i] = from_float<T>(to_float(u.at[i]) + to_float(v.at[i]));
    store(y, r, c, out);
  }
}

// y = x
template <typename X, typename Y, int V> DEVICE void convert(matrix x, matrix y) {
  EACH(V, y) {
    vec<X, V> u = load<X, V>(x, r, c);
    vec<Y, V> out;
#pragma unroll
    for (int i = 0; i < V; i++)
      out.at[i] = from_float<Y>(to_float(u.at[i]));
    store(y, r, c, out);
  }
}

// MARK: Gated activation

struct activated {
  float value, slope;
};

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// See ../gated_activation.c for the formulas and their sources.
template <int KIND> DEVICE activated activate(float x) {
  if (KIND == 0) { // silu
    float s = sigmoid(x);
    return {x * s, s * (1 + x * (1 - s))};
  }
  if (KIND == 1) { // gelu, tanh
    const float a = 1.5957691216057308f, b = 0.044715f;
    float s = sigmoid(a * (x + b * x * x * x));
    return {x * s, s * (1 + x * (1 - s) * a * (1 + 3 * b * x * x))};
  }
  float phi = normcdff(x); // gelu, erf
  return {x * phi, phi + x * expf(-0.5f * x * x) * 0.3989422804014327f};
}

// y = act(gate) * up
template <typename T, int V, int KIND> DEVICE void gated_activation(matrix gate, matrix up, matrix y) {
  EACH(V, y) {
    vec<T, V> g = load<T, V>(gate, r, c), u = load<T, V>(up, r, c), out;
#pragma unroll
    for (int i = 0; i < V; i++)
      out.at[i] = from_float<T>(activate<KIND>(to_float(g.at[i])).value * to_float(u.at[i]));
    store(y, r, c, out);
  }
}

// d_gate = dy * up * act'(gate), d_up = dy * act(gate)
template <typename T, int V, int KIND>
DEVICE void gated_activation_backward(matrix gate, matrix up, matrix dy, matrix d_gate, matrix d_up) {
  EACH(V, dy) {
    vec<T, V> g = load<T, V>(gate, r, c), u = load<T, V>(up, r, c), d = load<T, V>(dy, r, c), dg, du;
#pragma unroll
    for (int i = 0; i < V; i++) {
      activated a = activate<KIND>(to_float(g.at[i]));
      float gradient = to_float(d.at[i]);
      dg.at[i] = from_float<T>(gradient * to_float(u.at[i]) * a.slope);
      du.at[i] = from_float<T>(gradient * a.value);
    }
    store(d_gate, r, c, dg);
    store(d_up, r, c, du);
  }
}

// MARK: Rotary position embedding

// A thread turns pairs c and c + rotary / 2 of one head (V at once), or copies columns that are not turned.
// Items of a head: rotary / 2 / V pairs, then (head_size - rotary) / V copies.
template <typename T, int V>
DEVICE void rotary(matrix x, const int32_t *positions, const float *cosine, const float *sine,
                   int64_t head_size, int64_t rotary, float direction, matrix y) {
  int64_t half = rotary / 2, items = (half + head_size - rotary) / V;
  int64_t item = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= x.columns / head_size * items)
    return;
  int64_t head = item / items * head_size, c = item % items * V;
  for (int64_t r = blockIdx.y; r < x.rows; r += gridDim.y) {
    if (c >= half) {
      store(y, r, head + half + c, load<T, V>(x, r, head + half + c));
      continue;
    }
    int64_t angle = positions[r] * half + c;
    vec<float, V> cos = *(const vec<float, V> *)(cosine + angle),
                  sin = *(const vec<float, V> *)(sine + angle);
    vec<T, V> a = load<T, V>(x, r, head + c), b = load<T, V>(x, r, head + half + c), first, second;
#pragma unroll
    for (int i = 0; i < V; i++) {
      float u = to_float(a.at[i]), v = to_float(b.at[i]), s = direction * sin.at[i];
      first.at[i] = from_float<T>(u * cos.at[i] - v * s);
      second.at[i] = from_float<T>(v * cos.at[i] + u * s);
    }
    store(y, r, head + c, first);
    store(y, r, head + half + c, second);
  }
}

#define OPERATIONS(T, NAME, V)                                                                               \
  KERNEL add_##NAME##_x##V(matrix a, matrix b, matrix y) { add<T, V>(a, b, y); }                             \
  KERNEL rotary_##NAME##_x##V(matrix x, const int32_t *positions, const float *cosine, const float *sine,    \
                              int64_t head_size, int64_t width, float direction, matrix y) {                 \
    rotary<T, V>(x, positions, cosine, sine, head_size, width, direction, y);                                \
  }
#define GATED(T, NAME, V, KIND, ACT)                                                                         \
  KERNEL gated_##ACT##_##NAME##_x##V(matrix gate, matrix up, matrix y) {                                     \
    gated_activation<T, V, KIND>(gate, up, y);                                                               \
  }                                                                                                          \
  KERNEL gated_##ACT##_backward_##NAME##_x##V(matrix gate, matrix up, matrix dy, matrix d_gate,              \
                                              matrix d_up) {                                                 \
    gated_activation_backward<T, V, KIND>(gate, up, dy, d_gate, d_up);                                       \
  }
#define ALL(T, NAME, V)                                                                                      \
  OPERATIONS(T, NAME, V)                                                                                     \
  GATED(T, NAME, V, 0, silu)                                                                                 \
  GATED(T, NAME, V, 1, gelu_tanh)                                                                            \
  GATED(T, NAME, V, 2, gelu)
#define CONVERT(X, Y, NAME)                                                                                  \
  KERNEL convert_##NAME##_x4(matrix x, matrix y) { convert<X, Y, 4>(x, y); }                                 \
  KERNEL convert_##NAME##_x1(matrix x, matrix y) { convert<X, Y, 1>(x, y); }

ALL(float, f32, 4)
ALL(float, f32, 1)
ALL(bf16, bf16, 8)
ALL(bf16, bf16, 1)
CONVERT(float, float, f32_f32)
CONVERT(float, bf16, f32_bf16)
CONVERT(bf16, float, bf16_f32)
CONVERT(bf16, bf16, bf16_bf16)
