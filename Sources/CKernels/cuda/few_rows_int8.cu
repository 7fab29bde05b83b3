// few_rows_mma.cuh for weights in INT8.
#include "few_rows_mma.cuh"

FEW_ROWS_OF(int8, F_INT8)
