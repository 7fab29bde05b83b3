import CKernels

/// A CUDA source file of CKernels/cuda, by its name.
enum KernelSource: String, CaseIterable {
  case attention
  case attentionLayout = "attention_layout"
  case crossEntropy = "cross_entropy"
  case dequantize
  case dropout
  case elementwise
  case embedding
  case expand
  case float8
  case matrixProduct = "matrix_product"
  case optimizer
  case quantize
  case rmsNorm = "rms_norm"

  /// The file's text, without the headers it includes.
  var text: String { cudaSource(rawValue) }
}

/// A header of CKernels/cuda that any source file may include.
enum KernelHeader: String, CaseIterable {
  case common
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
