#include "cuda_api.h"
#include <dlfcn.h>

// Looks up one function; the table's field has the function's name.
#define LOAD(name, ...)                                                                                      \
  if (!(*(void **)&table.name = dlsym(library, #name)) && !*missing)                                         \
    *missing = #name;

sw_cuda_driver sw_cuda_driver_load(void *library, const char **missing) {
  sw_cuda_driver table;
  *missing = NULL;
  SW_CUDA_DRIVER(LOAD)
  return table;
}

sw_nvrtc sw_nvrtc_load(void *library, const char **missing) {
  sw_nvrtc table;
  *missing = NULL;
  SW_NVRTC(LOAD)
  return table;
}

sw_cublaslt sw_cublaslt_load(void *library, const char **missing) {
  sw_cublaslt table;
  *missing = NULL;
  SW_CUBLASLT(LOAD)
  LOAD(cublasLtGetVersion)
  return table;
}

sw_cudnn sw_cudnn_load(void *library, const char **missing) {
  sw_cudnn table;
  *missing = NULL;
  SW_CUDNN(LOAD)
  LOAD(cudnnGetVersion)
  LOAD(cudnnGetLastErrorString)
  return table;
}
