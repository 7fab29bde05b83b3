import Basics

/// Where to compute, as users name it: `auto`, `cpu`, `cuda` or `cuda:1`.
public enum DeviceChoice: Sendable, Equatable {
  /// The first GPU, or the processor where there is none.
  case auto
  case cpu
  /// A GPU by its number, from 0.
  case cuda(Int)

  public init?(_ text: String) {
    switch text {
    case "auto": self = .auto
    case "cpu": self = .cpu
    case "cuda": self = .cuda(0)
    default:
      guard text.hasPrefix("cuda:"), let number = Int(text.dropFirst(5)), number >= 0 else { return nil }
      self = .cuda(number)
    }
  }

  public var text: String {
    switch self {
    case .auto: "auto"
    case .cpu: "cpu"
    case .cuda(let number): "cuda:\(number)"
    }
  }

  /// Takes the device into use.
  ///
  /// - Throws: `.unavailable`, saying what is missing; for `auto` only when there is a GPU that lacks something.
  public func open() throws(SwiftletError) -> any Backend {
    switch self {
    case .cpu: try CPU()
    case .cuda(let number): try CUDA(number, libraries: CUDALibraries())
    case .auto: CUDA.isPresent ? try CUDA(0, libraries: CUDALibraries()) : try CPU()
    }
  }
}
