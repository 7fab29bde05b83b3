#include "gemm_kernels.h"
#include <string.h>

// MARK: Portable: six rows by one panel, vectors of sixteen lanes that the compiler cuts to the machine's.

enum { PORTABLE_ROWS = 6 };

typedef float float16 __attribute__((vector_size(64), aligned(4)));
typedef double double16 __attribute__((vector_size(128), aligned(8)));

#define LOAD_F32(p) (*(const float *)(p))
#define LOAD_BF16(p) sw_from_bf16(*(const sw_bf16 *)(p))
#define LOAD_F64(p) (*(const double *)(p))

// Rows past m repeat row 0, so that the loop has no branch; their sums are not stored.
#define PORTABLE_KERNEL(name, A, LOAD, REAL, VECTOR)                                                         \
  SW_KERNEL static void name(const sw_stretch *stretches, int count, int m, int panels, void *sums,          \
                             int64_t sums_stride, int accumulate) {                                          \
    (void)panels;                                                                                            \
    VECTOR sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0}, sum4 = {0}, sum5 = {0};                           \
    for (const sw_stretch *s = stretches; s < stretches + count; s++) {                                      \
      const A *row[PORTABLE_ROWS];                                                                           \
      for (int i = 0; i < PORTABLE_ROWS; i++)                                                                \
        row[i] = (const A *)s->a + (i < m ? i : 0) * s->lda;                                                 \
      const REAL *panel = s->b;                                                                              \
      for (int64_t p = 0; p < s->k; p++) {                                                                   \
        VECTOR bv = *(const VECTOR *)(panel + p * SW_PANEL);                                                 \
        sum0 += LOAD(row[0] + p) * bv;                                                                       \
        sum1 += LOAD(row[1] + p) * bv;                                                                       \
        sum2 += LOAD(row[2] + p) * bv;                                                                       \
        sum3 += LOAD(row[3] + p) * bv;                                                                       \
        sum4 += LOAD(row[4] + p) * bv;                                                                       \
        sum5 += LOAD(row[5] + p) * bv;                                                                       \
      }                                                                                                      \
    }                                                                                                        \
    const VECTOR sum[PORTABLE_ROWS] = {sum0, sum1, sum2, sum3, sum4, sum5};                                  \
    for (int i = 0; i < m; i++) {                                                                            \
      VECTOR *out = (VECTOR *)((REAL *)sums + i * sums_stride);                                              \
      *out = accumulate ? *out + sum[i] : sum[i];                                                            \
    }                                                                                                        \
  }

PORTABLE_KERNEL(run_portable_f32, float, LOAD_F32, float, float16)
PORTABLE_KERNEL(run_portable_bf16, sw_bf16, LOAD_BF16, float, float16)
PORTABLE_KERNEL(run_portable_f64, double, LOAD_F64, double, double16)

#if defined(__x86_64__)
#include <immintrin.h>

// MARK: AVX-512: fourteen rows by two panels, 28 of the 32 registers hold sums.

enum { AVX512_ROWS = 14 };

#define UNROLL _Pragma("clang loop unroll(full)")

// The sums of M rows and P panels; a step of k is a float, or a pair of bfloat16 (both are 32 bits of A).
#define AVX512_TILE(name, ISA, STEP, ACCUMULATE)                                                             \
  __attribute__((target(ISA), always_inline)) static inline void name(                                       \
      const int M, const int P, const sw_stretch *stretches, int count, float *sums, int64_t sums_stride,    \
      int accumulate) {                                                                                      \
    __m512 sum[AVX512_ROWS * SW_MAX_TILE_PANELS];                                                            \
    UNROLL for (int i = 0; i < M * P; i++) sum[i] = _mm512_setzero_ps();                                     \
    for (const sw_stretch *s = stretches; s < stretches + count; s++) {                                      \
      const char *a = s->a, *b = s->b;                                                                       \
      const int64_t steps = s->k / STEP, row_bytes = s->lda * (4 / STEP), panel_bytes = s->panel_bytes;      \
      for (int64_t p = 0; p < steps; p++) {                                                                  \
        __m512 panel[SW_MAX_TILE_PANELS];                                                                    \
        UNROLL for (int j = 0; j < P; j++) panel[j] = _mm512_loadu_ps(b + j * panel_bytes + p * 64);         \
        UNROLL for (int i = 0; i < M; i++) {                                                                 \
          __m512i av = _mm512_set1_epi32((int)*(const uint32_t *)(a + i * row_bytes + p * 4));               \
          UNROLL for (int j = 0; j < P; j++) sum[i * P + j] = ACCUMULATE(sum[i * P + j], av, panel[j]);      \
        }                                                                                                    \
      }                                                                                                      \
    }                                                                                                        \
    UNROLL for (int i = 0; i < M; i++) {                                                                     \
      UNROLL for (int j = 0; j < P; j++) {                                                                   \
        float *out = sums + i * sums_stride + j * SW_PANEL;                                                  \
        __m512 total = accumulate ? _mm512_add_ps(sum[i * P + j], _mm512_loadu_ps(out)) : sum[i * P + j];    \
        _mm512_storeu_ps(out, total);                                                                        \
      }                                                                                                      \
    }                                                                                                        \
  }

#define FMA_F32(sum, av, bv) _mm512_fmadd_ps(_mm512_castsi512_ps(av), bv, sum)
#define DOT_BF16(sum, av, bv) _mm512_dpbf16_ps(sum, (__m512bh)(av), (__m512bh)(bv))
AVX512_TILE(tile_f32, "avx512f", 1, FMA_F32)
// k is even here: the driver pads an odd one.
AVX512_TILE(tile_bf16, "avx512f,avx512bf16", 2, DOT_BF16)

#define AVX512_ROW_CASE(tile, M)                                                                             \
  case M:                                                                                                    \
    if (panels == 2)                                                                                         \
      tile(M, 2, stretches, count, sums, sums_stride, accumulate);                                           \
    else                                                                                                     \
      tile(M, 1, stretches, count, sums, sums_stride, accumulate);                                           \
    break;

#define AVX512_RUN(name, ISA, tile)                                                                          \
  __attribute__((target(ISA))) static void name(const sw_stretch *stretches, int count, int m, int panels,   \
                                                void *sums, int64_t sums_stride, int accumulate) {           \
    switch (m) {                                                                                             \
      AVX512_ROW_CASE(tile, 1)                                                                               \
      AVX512_ROW_CASE(tile, 2)                                                                               \
      AVX512_ROW_CASE(tile, 3)                                                                               \
      AVX512_ROW_CASE(tile, 4)                                                                               \
      AVX512_ROW_CASE(tile, 5)                                                                               \
      AVX512_ROW_CASE(tile, 6)                                                                               \
      AVX512_ROW_CASE(tile, 7)                                                                               \
      AVX512_ROW_CASE(tile, 8)                                                                               \
      AVX512_ROW_CASE(tile, 9)                                                                               \
      AVX512_ROW_CASE(tile, 10)                                                                              \
      AVX512_ROW_CASE(tile, 11)                                                                              \
      AVX512_ROW_CASE(tile, 12)                                                                              \
      AVX512_ROW_CASE(tile, 13)                                                                              \
      AVX512_ROW_CASE(tile, 14)                                                                              \
    }                                                                                                        \
  }

AVX512_RUN(run_avx512_f32, "avx512f", tile_f32)
AVX512_RUN(run_avx512_bf16, "avx512f,avx512bf16", tile_bf16)

// MARK: AMX: 32 rows by two panels in four of the eight tiles; a tile row is 64 bytes. Sums are loaded before
// rather than added after: the tiles have no addition.

typedef struct {
  uint8_t palette, start_row;
  uint8_t reserved[14];
  uint16_t column_bytes[16];
  uint8_t rows[16];
} tile_config;

// Configures the calling thread's tiles for so many rows of A, unless they are. The processor keeps what is
// loaded, and nothing else here uses tiles.
__attribute__((target("amx-tile"))) static void configure_tiles(int upper, int lower) {
  static thread_local int configured = 0;
  if (configured == upper + lower)
    return;
  tile_config config = {.palette = 1};
  for (int t = 0; t < 8; t++) {
    config.column_bytes[t] = 64;
    config.rows[t] = (uint8_t)(t >= 6 ? 16 : t == 4 || t < 2 ? upper : lower > 0 ? lower : 1);
  }
  _tile_loadconfig(&config);
  configured = upper + lower;
}

// Tiles 0-3: sums (upper left, upper right, lower left, lower right); 4, 5: rows of A; 6, 7: panels of B.
__attribute__((target("amx-tile,amx-bf16"))) static void run_amx_bf16(const sw_stretch *stretches, int count,
                                                                      int m, int panels, void *sums,
                                                                      int64_t sums_stride, int accumulate) {
  const int upper = m < 16 ? m : 16, lower = m - upper, right = panels == 2;
  configure_tiles(upper, lower);
  float *s0 = sums, *s1 = s0 + SW_PANEL, *s2 = s0 + 16 * sums_stride, *s3 = s2 + SW_PANEL;
  const int64_t row_bytes = sums_stride * 4;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (accumulate) {
    _tile_loadd(0, s0, row_bytes);
    if (right)
      _tile_loadd(1, s1, row_bytes);
    if (lower > 0)
      _tile_loadd(2, s2, row_bytes);
    if (lower > 0 && right)
      _tile_loadd(3, s3, row_bytes);
  }
  for (const sw_stretch *s = stretches; s < stretches + count; s++) {
    const int64_t a_bytes = s->lda * 2;
    const char *a0 = s->a, *a1 = a0 + 16 * a_bytes, *b0 = s->b, *b1 = b0 + s->panel_bytes;
    for (int64_t p = 0; p < s->k; p += 32, a0 += 64, a1 += 64, b0 += 1024, b1 += 1024) {
      _tile_loadd(4, a0, a_bytes);
      _tile_loadd(6, b0, 64);
      _tile_dpbf16ps(0, 4, 6);
      if (right) {
        _tile_loadd(7, b1, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (lower > 0) {
        _tile_loadd(5, a1, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        if (right)
          _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, s0, row_bytes);
  if (right)
    _tile_stored(1, s1, row_bytes);
  if (lower > 0)
    _tile_stored(2, s2, row_bytes);
  if (lower > 0 && right)
    _tile_stored(3, s3, row_bytes);
}
#endif

// MARK: Choice

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

// Linux grants the tile registers to a process that asks for them (Documentation/arch/x86/xstate.rst).
static int amx_granted(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}
#else
static int amx_granted(void) { return 0; }
#endif

sw_isa sw_gemm_isa(sw_dtype dtype) {
#if defined(__x86_64__)
  if (dtype == SW_BF16 && __builtin_cpu_supports("amx-bf16") && amx_granted())
    return SW_ISA_AMX;
  if (dtype == SW_BF16 && __builtin_cpu_supports("avx512bf16"))
    return SW_ISA_AVX512_BF16;
  if (dtype == SW_F32 && __builtin_cpu_supports("avx512f"))
    return SW_ISA_AVX512;
#endif
  return SW_ISA_PORTABLE;
}

sw_microkernel sw_microkernel_for(sw_dtype dtype, sw_isa isa) {
#if defined(__x86_64__)
  if (dtype == SW_BF16 && isa == SW_ISA_AMX)
    return (sw_microkernel){32, 2, SW_BF16, 2, 32, 2048, run_amx_bf16};
  if (dtype == SW_BF16 && isa == SW_ISA_AVX512_BF16)
    return (sw_microkernel){AVX512_ROWS, 2, SW_BF16, 2, 2, 1024, run_avx512_bf16};
  if (dtype == SW_F32 && isa == SW_ISA_AVX512)
    return (sw_microkernel){AVX512_ROWS, 2, SW_F32, 4, 1, 512, run_avx512_f32};
#endif
  switch (dtype) {
  case SW_F32:
    return (sw_microkernel){PORTABLE_ROWS, 1, SW_F32, 4, 1, 1024, run_portable_f32};
  case SW_BF16:
    // Pairs, though this kernel needs none: rows of A are staged two at a time.
    return (sw_microkernel){PORTABLE_ROWS, 1, SW_F32, 2, 2, 1024, run_portable_bf16};
  case SW_F64:
    return (sw_microkernel){PORTABLE_ROWS, 1, SW_F64, 8, 1, 1024, run_portable_f64};
  }
}
