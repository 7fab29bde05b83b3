import CKernels

/// A CUDA source file of CKernels/cuda, by its name.
enum KernelSource: String, CaseIterable {
  case attention
  case attentionLayout = "attention_layout"
  case crossEntropy = "cross_entropy"
  case dropout
  case elementwise
  case embedding
  case expand
  case fewRows = "few_rows"
  case fewRowsFinish = "few_rows_finish"
  case fewRowsFloat = "few_rows_float"
  case fewRowsINT8 = "few_rows_int8"
  case fewRowsNF4 = "few_rows_nf4"
  case fewRowsNF4Batch = "few_rows_nf4_batch"
  case float8
  case matrixProduct = "matrix_product"
  case optimizer
  case pageWrite = "page_write"
  case pagedAttention = "paged_attention"
  case pagedAttentionMMA = "paged_attention_mma"
  case quantize
  case rmsNorm = "rms_norm"
  case sampling

  /// Large ones that not every run needs: cuDNN mostly does without attention's, training without those of generation.
  var isLoadedWhenUsed: Bool {
    switch self {
    case .attention, .fewRowsFinish, .fewRowsFloat, .fewRowsINT8, .fewRowsNF4, .fewRowsNF4Batch,
      .pagedAttention, .pagedAttentionMMA:
      true
    default: false
    }
  }

  /// The file's text, without the headers it includes.
  var text: String { cudaSource(rawValue) }
}

/// A header of CKernels/cuda that any source file may include.
enum KernelHeader: String, CaseIterable {
  case attentionTiles = "attention_tiles"
  case common
  case fewRowsFormats = "few_rows_formats"
  case fewRowsMMA = "few_rows_mma"
  case fewRowsOperands = "few_rows_operands"
  case fewRowsTable = "few_rows_table"
  case pagedQuery = "paged_query"
  case philox
  case tensorCores = "tensor_cores"
  case weights

  /// As `#include` names it.
  var fileName: String { rawValue + ".cuh" }

  var text: String { cudaSource(rawValue) }
}

private func cudaSource(_ name: String) -> String {
  guard let text = sw_cuda_source(name) else {
    preconditionFailure("no CUDA source \(name) is compiled in")
  }
  return String(cString: text)
}
