// Compiles the file named by SW_TEMPLATE once for each dtype: an operation's body is written once.
//
// An op's file is in two halves, chosen by SW_BODY. The first, seen by the compiler proper, includes this
// header and defines the entry points. The second holds the bodies and is included from here once for each
// dtype, with
//   real      the type of the arithmetic,
//   stored    the type in memory, read and written by sw_load and sw_store,
//   TYPED(f)  f_f32, f_bf16, f_f64,
//   ROW(m, r) the first element of row r of matrix m.
// Bodies are SW_INLINE, entry points SW_KERNEL: so all of a body is compiled for each instruction set.
//
// Some operations stand between a stream kept in float and products taken in bfloat16. Their files define
// SW_MIXED and use, for the matrices on the products' side,
//   narrow           `stored`, or sw_bf16 in a fourth compilation (f_f32_bf16) in which stored is float,
//   NARROW_ROW(m, r) the first element of row r of such a matrix.
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

// The same, where matrices of `dtype` meet others of `narrow_dtype`.
#define SW_DISPATCH_MIXED(dtype, narrow_dtype, body, ...)                                                    \
  if ((dtype) == SW_F32 && (narrow_dtype) == SW_BF16) {                                                      \
    body##_f32_bf16(__VA_ARGS__);                                                                            \
    return;                                                                                                  \
  }                                                                                                          \
  SW_DISPATCH(dtype, body, __VA_ARGS__)

#define SW_BODY
#define ROW(m, r) ((stored *)(m).data + (r) * (m).stride)
#define NARROW_ROW(m, r) ((narrow *)(m).data + (r) * (m).stride)

#define real float
#define stored float
#define narrow float
#define TYPED(name) name##_f32
#include SW_TEMPLATE
#undef narrow
#undef TYPED

#ifdef SW_MIXED
#define narrow sw_bf16
#define TYPED(name) name##_f32_bf16
#include SW_TEMPLATE
#undef narrow
#undef TYPED
#endif
#undef stored

#define stored sw_bf16
#define narrow sw_bf16
#define TYPED(name) name##_bf16
#include SW_TEMPLATE
#undef real
#undef stored
#undef narrow
#undef TYPED

#define real double
#define stored double
#define narrow double
#define TYPED(name) name##_f64
#include SW_TEMPLATE
#undef real
#undef stored
#undef narrow
#undef TYPED

#undef ROW
#undef NARROW_ROW
#undef SW_BODY
