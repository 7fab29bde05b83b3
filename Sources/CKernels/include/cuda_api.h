// The functions of NVIDIA's libraries that Swiftlet calls, as tables of pointers that are filled at run time:
// nothing of CUDA is needed to build. Prototypes follow the libraries' public documentation (CUDA driver API
// 12 and later, NVRTC, cuBLASLt, cuDNN 9 backend API); handles are opaque pointers.
#pragma once
#include <stddef.h>
#include <stdint.h>

#pragma clang diagnostic ignored "-Wnullability-completeness"

typedef uint64_t sw_device_address;

// MARK: Driver (libcuda.so.1). Every function returns a CUresult, 0 for success.

// CUmemAllocationProp and CUmemAccessDesc: memory of one device's, and who may use it.
typedef struct {
  int allocation_type, handle_types, location_type, device;
  void *metadata;
  uint8_t flags[8];
} sw_memory_properties;
typedef struct {
  int location_type, device, access;
} sw_memory_access;

// CUlaunchAttribute and CUlaunchConfig.
typedef struct {
  int id, padding;
  uint64_t value[8];
} sw_launch_attribute;
typedef struct {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void *stream;
  sw_launch_attribute *attributes;
  unsigned attribute_count;
} sw_launch_config;

#define SW_CUDA_DRIVER(X)                                                                                    \
  X(cuInit, unsigned flags)                                                                                  \
  X(cuDriverGetVersion, int *version)                                                                        \
  X(cuGetErrorString, int error, const char **text)                                                          \
  X(cuDeviceGetCount, int *count)                                                                            \
  X(cuDeviceGet, int *device, int ordinal)                                                                   \
  X(cuDeviceGetName, char *name, int size, int device)                                                       \
  X(cuDeviceGetAttribute, int *value, int attribute, int device)                                             \
  X(cuDeviceTotalMem_v2, size_t *bytes, int device)                                                          \
  X(cuDevicePrimaryCtxRetain, void **context, int device)                                                    \
  X(cuDevicePrimaryCtxRelease_v2, int device)                                                                \
  X(cuCtxSetCurrent, void *context)                                                                          \
  X(cuMemGetInfo_v2, size_t *free, size_t *total)                                                            \
  X(cuMemAlloc_v2, sw_device_address *address, size_t bytes)                                                 \
  X(cuMemFree_v2, sw_device_address address)                                                                 \
  X(cuMemGetAllocationGranularity, size_t *bytes, const sw_memory_properties *properties, int option)        \
  X(cuMemAddressReserve, sw_device_address *address, size_t bytes, size_t alignment, sw_device_address hint, \
    unsigned long long flags)                                                                                \
  X(cuMemAddressFree, sw_device_address address, size_t bytes)                                               \
  X(cuMemCreate, uint64_t *handle, size_t bytes, const sw_memory_properties *properties,                     \
    unsigned long long flags)                                                                                \
  X(cuMemRelease, uint64_t handle)                                                                           \
  X(cuMemMap, sw_device_address address, size_t bytes, size_t offset, uint64_t handle,                       \
    unsigned long long flags)                                                                                \
  X(cuMemUnmap, sw_device_address address, size_t bytes)                                                     \
  X(cuMemSetAccess, sw_device_address address, size_t bytes, const sw_memory_access *accesses, size_t count) \
  X(cuMemHostAlloc, void **memory, size_t bytes, unsigned flags)                                             \
  X(cuMemFreeHost, void *memory)                                                                             \
  X(cuMemcpyAsync, sw_device_address to, sw_device_address from, size_t bytes, void *stream)                 \
  X(cuMemcpyHtoDAsync_v2, sw_device_address to, const void *from, size_t bytes, void *stream)                \
  X(cuMemcpyDtoHAsync_v2, void *to, sw_device_address from, size_t bytes, void *stream)                      \
  X(cuMemcpyDtoDAsync_v2, sw_device_address to, sw_device_address from, size_t bytes, void *stream)          \
  X(cuMemsetD8Async, sw_device_address to, unsigned char value, size_t bytes, void *stream)                  \
  X(cuMemsetD2D8Async, sw_device_address to, size_t pitch, unsigned char value, size_t width, size_t height, \
    void *stream)                                                                                            \
  X(cuModuleLoadData, void **module, const void *image)                                                      \
  X(cuModuleUnload, void *module)                                                                            \
  X(cuModuleGetFunction, void **function, void *module, const char *name)                                    \
  X(cuFuncSetAttribute, void *function, int attribute, int value)                                            \
  X(cuFuncGetAttribute, int *value, int attribute, void *function)                                           \
  X(cuLaunchKernel, void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,     \
    unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **arguments, void **extra) \
  X(cuLaunchKernelEx, const sw_launch_config *config, void *function, void **arguments, void **extra)        \
  X(cuStreamCreate, void **stream, unsigned flags)                                                           \
  X(cuStreamDestroy_v2, void *stream)                                                                        \
  X(cuStreamSynchronize, void *stream)                                                                       \
  X(cuStreamWaitEvent, void *stream, void *event, unsigned flags)                                            \
  X(cuStreamBeginCapture_v2, void *stream, int mode)                                                         \
  X(cuStreamEndCapture, void *stream, void **graph)                                                          \
  X(cuEventCreate, void **event, unsigned flags)                                                             \
  X(cuEventDestroy_v2, void *event)                                                                          \
  X(cuEventRecord, void *event, void *stream)                                                                \
  X(cuEventSynchronize, void *event)                                                                         \
  X(cuEventElapsedTime, float *milliseconds, void *start, void *end)                                         \
  X(cuGraphInstantiateWithFlags, void **executable, void *graph, unsigned long long flags)                   \
  X(cuGraphLaunch, void *executable, void *stream)                                                           \
  X(cuGraphUpload, void *executable, void *stream)                                                           \
  X(cuGraphExecDestroy, void *executable)                                                                    \
  X(cuGraphDestroy, void *graph)

// MARK: NVRTC (libnvrtc.so). 0 for success.

#define SW_NVRTC(X)                                                                                          \
  X(nvrtcVersion, int *major, int *minor)                                                                    \
  X(nvrtcCreateProgram, void **program, const char *source, const char *name, int header_count,              \
    const char *const *headers, const char *const *header_names)                                             \
  X(nvrtcCompileProgram, void *program, int option_count, const char *const *options)                        \
  X(nvrtcGetProgramLogSize, void *program, size_t *size)                                                     \
  X(nvrtcGetProgramLog, void *program, char *log)                                                            \
  X(nvrtcGetCUBINSize, void *program, size_t *size)                                                          \
  X(nvrtcGetCUBIN, void *program, char *cubin)                                                               \
  X(nvrtcDestroyProgram, void **program)

// MARK: cuBLASLt (libcublasLt.so). 0 for success.

// cublasLtMatmulHeuristicResult_t; `algorithm` is a cublasLtMatmulAlgo_t.
typedef struct {
  uint64_t algorithm[8];
  size_t workspace_size;
  int state;
  float waves_count;
  int reserved[4];
} sw_matmul_heuristic;

#define SW_CUBLASLT(X)                                                                                       \
  X(cublasLtCreate, void **handle)                                                                           \
  X(cublasLtDestroy, void *handle)                                                                           \
  X(cublasLtMatmulDescCreate, void **description, int compute_type, int scale_type)                          \
  X(cublasLtMatmulDescDestroy, void *description)                                                            \
  X(cublasLtMatmulDescSetAttribute, void *description, int attribute, const void *value, size_t size)        \
  X(cublasLtMatrixLayoutCreate, void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading)   \
  X(cublasLtMatrixLayoutDestroy, void *layout)                                                               \
  X(cublasLtMatrixLayoutSetAttribute, void *layout, int attribute, const void *value, size_t size)           \
  X(cublasLtMatmulPreferenceCreate, void **preference)                                                       \
  X(cublasLtMatmulPreferenceDestroy, void *preference)                                                       \
  X(cublasLtMatmulPreferenceSetAttribute, void *preference, int attribute, const void *value, size_t size)   \
  X(cublasLtMatmulAlgoGetHeuristic, void *handle, void *description, void *a, void *b, void *c, void *d,     \
    void *preference, int wanted, sw_matmul_heuristic *results, int *found)                                  \
  X(cublasLtMatmul, void *handle, void *description, const void *alpha, sw_device_address a, void *a_layout, \
    sw_device_address b, void *b_layout, const void *beta, sw_device_address c, void *c_layout,              \
    sw_device_address d, void *d_layout, const uint64_t *algorithm, sw_device_address workspace,             \
    size_t workspace_size, void *stream)

// MARK: cuDNN (libcudnn.so.9), backend API. 0 for success.

#define SW_CUDNN(X)                                                                                          \
  X(cudnnCreate, void **handle)                                                                              \
  X(cudnnDestroy, void *handle)                                                                              \
  X(cudnnSetStream, void *handle, void *stream)                                                              \
  X(cudnnBackendCreateDescriptor, int kind, void **descriptor)                                               \
  X(cudnnBackendDestroyDescriptor, void *descriptor)                                                         \
  X(cudnnBackendSetAttribute, void *descriptor, int attribute, int type, int64_t count, const void *values)  \
  X(cudnnBackendGetAttribute, void *descriptor, int attribute, int type, int64_t wanted, int64_t *count,     \
    void *values)                                                                                            \
  X(cudnnBackendFinalize, void *descriptor)                                                                  \
  X(cudnnBackendExecute, void *handle, void *plan, void *pack)

#define SW_FIELD(name, ...) int (*_Nonnull name)(__VA_ARGS__);
typedef struct {
  SW_CUDA_DRIVER(SW_FIELD)
} sw_cuda_driver;
typedef struct {
  SW_NVRTC(SW_FIELD)
} sw_nvrtc;
typedef struct {
  SW_CUBLASLT(SW_FIELD)
  size_t (*_Nonnull cublasLtGetVersion)(void);
} sw_cublaslt;
typedef struct {
  SW_CUDNN(SW_FIELD)
  size_t (*_Nonnull cudnnGetVersion)(void);
  void (*_Nonnull cudnnGetLastErrorString)(char *text, size_t size);
} sw_cudnn;
#undef SW_FIELD

// The functions of a library that dlopen opened. `missing` becomes NULL, or the name of the first function
// that the library lacks; the table must not be used then.
sw_cuda_driver sw_cuda_driver_load(void *_Nonnull library, const char *_Nullable *_Nonnull missing);
sw_nvrtc sw_nvrtc_load(void *_Nonnull library, const char *_Nullable *_Nonnull missing);
sw_cublaslt sw_cublaslt_load(void *_Nonnull library, const char *_Nullable *_Nonnull missing);
sw_cudnn sw_cudnn_load(void *_Nonnull library, const char *_Nullable *_Nonnull missing);

// The text of a CUDA source file of ../cuda, by its name without ".cu" or ".cuh" ending; NULL when there is
// none. Ends in a zero byte.
const char *sw_cuda_source(const char *name);
