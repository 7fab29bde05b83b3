// The CUDA sources as text, compiled into the library; NVRTC compiles them on the machine that runs them.
#include "cuda_api.h"
#include <string.h>

// clang-format off
static const char common[] = {
#embed "cuda/common.cuh"
, 0};
static const char weights[] = {
#embed "cuda/weights.cuh"
, 0};
static const char attention_tiles[] = {
#embed "cuda/attention_tiles.cuh"
, 0};
static const char few_rows_operands[] = {
#embed "cuda/few_rows_operands.cuh"
, 0};
static const char few_rows_formats[] = {
#embed "cuda/few_rows_formats.cuh"
, 0};
static const char few_rows_mma[] = {
#embed "cuda/few_rows_mma.cuh"
, 0};
static const char few_rows_table[] = {
#embed "cuda/few_rows_table.cuh"
, 0};
static const char paged_query[] = {
#embed "cuda/paged_query.cuh"
, 0};
static const char philox[] = {
#embed "cuda/philox.cuh"
, 0};
static const char tensor_cores[] = {
#embed "cuda/tensor_cores.cuh"
, 0};
static const char attention[] = {
#embed "cuda/attention.cu"
, 0};
static const char attention_layout[] = {
#embed "cuda/attention_layout.cu"
, 0};
static const char cross_entropy[] = {
#embed "cuda/cross_entropy.cu"
, 0};
static const char dropout[] = {
#embed "cuda/dropout.cu"
, 0};
static const char elementwise[] = {
#embed "cuda/elementwise.cu"
, 0};
static const char embedding[] = {
#embed "cuda/embedding.cu"
, 0};
static const char expand[] = {
#embed "cuda/expand.cu"
, 0};
static const char few_rows[] = {
#embed "cuda/few_rows.cu"
, 0};
static const char few_rows_finish[] = {
#embed "cuda/few_rows_finish.cu"
, 0};
static const char few_rows_float[] = {
#embed "cuda/few_rows_float.cu"
, 0};
static const char few_rows_int8[] = {
#embed "cuda/few_rows_int8.cu"
, 0};
static const char few_rows_nf4[] = {
#embed "cuda/few_rows_nf4.cu"
, 0};
static const char few_rows_nf4_batch[] = {
#embed "cuda/few_rows_nf4_batch.cu"
, 0};
static const char float8[] = {
#embed "cuda/float8.cu"
, 0};
static const char matrix_product[] = {
#embed "cuda/matrix_product.cu"
, 0};
static const char optimizer[] = {
#embed "cuda/optimizer.cu"
, 0};
static const char paged_attention[] = {
#embed "cuda/paged_attention.cu"
, 0};
static const char paged_attention_mma[] = {
#embed "cuda/paged_attention_mma.cu"
, 0};
static const char page_write[] = {
#embed "cuda/page_write.cu"
, 0};
static const char quantize[] = {
#embed "cuda/quantize.cu"
, 0};
static const char rms_norm[] = {
#embed "cuda/rms_norm.cu"
, 0};
static const char sampling[] = {
#embed "cuda/sampling.cu"
, 0};
// clang-format on

static const struct {
  const char *name, *text;
} sources[] = {
    {"common", common},
    {"weights", weights},
    {"attention_tiles", attention_tiles},
    {"few_rows_operands", few_rows_operands},
    {"few_rows_formats", few_rows_formats},
    {"few_rows_mma", few_rows_mma},
    {"few_rows_table", few_rows_table},
    {"paged_query", paged_query},
    {"philox", philox},
    {"tensor_cores", tensor_cores},
    {"attention", attention},
    {"attention_layout", attention_layout},
    {"cross_entropy", cross_entropy},
    {"dropout", dropout},
    {"elementwise", elementwise},
    {"embedding", embedding},
    {"expand", expand},
    {"few_rows", few_rows},
    {"few_rows_finish", few_rows_finish},
    {"few_rows_float", few_rows_float},
    {"few_rows_int8", few_rows_int8},
    {"few_rows_nf4", few_rows_nf4},
    {"few_rows_nf4_batch", few_rows_nf4_batch},
    {"float8", float8},
    {"matrix_product", matrix_product},
    {"optimizer", optimizer},
    {"paged_attention", paged_attention},
    {"paged_attention_mma", paged_attention_mma},
    {"page_write", page_write},
    {"quantize", quantize},
    {"rms_norm", rms_norm},
    {"sampling", sampling},
};

const char *sw_cuda_source(const char *name) {
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
    if (strcmp(sources[i].name, name) == 0)
      return sources[i].text;
  return NULL;
}
