// few_rows_mma.cuh for weights in NF4.
#include "few_rows_mma.cuh"

FEW_ROWS_TALL(nf4, F_NF4)
FEW_ROWS_TALL(nf4_twice, F_NF4_TWICE)
