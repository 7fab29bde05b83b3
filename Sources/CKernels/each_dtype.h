// Compiles the file named by SW_TEMPLATE once for each dtype: an operation's body is written once.
//
// An op's file is in two halves, chosen by SW_BODY. The first, seen by the compiler proper, includes this
// header and defines the entry points. The second holds the bodies and is included from here three times,
// with
//   real      the type of the arithmetic,
//   stored    the type in memory, read and written by sw_load and sw_store,
//   TYPED(f)  f_f32, f_bf16, f_f64,
//   ROW(m, r) the first element of row r of matrix m.
// Bodies are SW_INLINE, entry points SW_KERNEL: so all of a body is compiled for each instruction set.
#include "include/kernel.h"
#include "vector_math.h"

// Calls the body for a matrix's dtype.
#define SW_DISPATCH(dtype, body, ...)                                                                        \
  switch (dtype) {                                                                                           \
  case SW_F32:                                                                                               \
    body##_f32(__VA_ARGS__);                                                                                 \
    break;                                                                                                   \
  case SW_BF16:                                                                                              \
    body##_bf16(__VA_ARGS__);                                                                                \
    break;                                                                                                   \
  case SW_F64:                                                                                               \
    body##_f64(__VA_ARGS__);                                                                                 \
    break;                                                                                                   \
  }

#define SW_BODY
#define ROW(m, r) ((stored *)(m).data + (r) * (m).stride)

#define real float
#define stored float
#define TYPED(name) name##_f32
#include SW_TEMPLATE
#undef stored
#undef TYPED

#define stored sw_bf16
#define TYPED(name) name##_bf16
#include SW_TEMPLATE
#undef real
#undef stored
#undef TYPED

#define real double
#define stored double
#define TYPED(name) name##_f64
#include SW_TEMPLATE
#undef real
#undef stored
#undef TYPED

#undef ROW
#undef SW_BODY
