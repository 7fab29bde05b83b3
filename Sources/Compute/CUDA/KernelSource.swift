import CKernels

/// A CUDA source file of CKernels/cuda, by its name.
enum KernelSource: String, CaseIterable {
  case elementwise
  case expand

  /// The file's text, without `common.cuh`.
  var text: String { Self.text(rawValue) }

  /// What every file includes.
  static var common: String { text("common") }

  private static func text(_ name: String) -> String {
    guard let text = sw_cuda_source(name) else {
      preconditionFailure("no CUDA source \(name) is compiled in")
    }
    return String(cString: text)
  }
}
