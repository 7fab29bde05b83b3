// The CUDA sources as text, compiled into the library; NVRTC compiles them on the machine that runs them.
#include "cuda_api.h"
#include <string.h>

#define BEGIN(name) static const char name[] = {
#define END                                                                                                  \
  , 0                                                                                                        \
  }                                                                                                          \
  ;

BEGIN(common)
#embed "cuda/common.cuh"
END

BEGIN(weights)
#embed "cuda/weights.cuh"
END

BEGIN(dequantize)
#embed "cuda/dequantize.cu"
END

BEGIN(elementwise)
#embed "cuda/elementwise.cu"
END

BEGIN(matrix_product)
#embed "cuda/matrix_product.cu"
END

BEGIN(quantize)
#embed "cuda/quantize.cu"
END

    static const struct {
  const char *name, *text;
} sources[] = {
    {"common", common},
    {"weights", weights},
    {"dequantize", dequantize},
    {"elementwise", elementwise},
    {"matrix_product", matrix_product},
    {"quantize", quantize},
};

const char *sw_cuda_source(const char *name) {
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
    if (strcmp(sources[i].name, name) == 0)
      return sources[i].text;
  return NULL;
}
