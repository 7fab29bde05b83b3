// What kernels on tensor cores share: sm_80 and up.
#pragma once
#include "common.cuh"

#if __CUDA_ARCH__ >= 800

// d += a b: lane (g, t) = (lane / 4, lane % 4) holds of d rows g, g + 8 and columns 2 t, 2 t + 1.
DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8 from shared memory: lane 8 i + r has the address of row r of the i-th, and gets
// elements 2 t and 2 t + 1 of its row g, or if they are transposed of its column g.
template <bool TRANSPOSED = false> DEVICE void load_matrices(uint32_t address, uint32_t (&words)[4]) {
  if constexpr (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

// MARK: Asynchronous copies to shared memory

// 16 bytes.
DEVICE void copy_16(uint32_t shared, const void *at) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(at) : "memory");
}

// 16 bytes; zeros, and nothing is read, where there is nothing.
DEVICE void copy_16_or_zeros(uint32_t shared, const void *at, bool is_there) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(at),
               "r"(is_there ? 16 : 0)
               : "memory");
}

// Ends a group of copies, which may be empty.
DEVICE void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Returns when this thread's groups but the last `LEFT` have come.
template <int LEFT> DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

#endif
