// few_rows_mma.cuh for weights in floats of 16 and 32 bits.
#include "few_rows_mma.cuh"

FEW_ROWS_OF(bf16, F_BF16)
FEW_ROWS_OF(f16, F_F16)
FEW_ROWS_OF(f32, F_F32)
