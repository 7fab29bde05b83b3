// NVIDIA's libraries as far as Swiftlet calls them, on a machine whose driver says what these macros tell:
// INIT, cuInit's status; SERVED, the version of CUDA that it serves; DEVICES, how many GPUs it has; TAKING,
// the status of everything else.

#ifndef __clang__
#define _Nonnull
#define _Nullable
#endif
#include "cuda_api.h"
#include <string.h>

static int answer(const char *function, void *first, void *second) {
  if (strcmp(function, "cuInit") == 0)
    return INIT;
  if (strcmp(function, "cuDriverGetVersion") == 0)
    return *(int *)first = SERVED, 0;
  if (strcmp(function, "cuDeviceGetCount") == 0)
    return *(int *)first = DEVICES, 0;
  if (strcmp(function, "cuGetErrorString") == 0)
    return *(const char **)second = "as the driver says", 0;
  return TAKING;
}

#define STUB(name, ...)                                                                                      \
  int name(void *first, void *second) { return answer(#name, first, second); }
SW_CUDA_DRIVER(STUB)
SW_NVRTC(STUB)
SW_CUBLASLT(STUB)
STUB(cublasLtGetVersion)
