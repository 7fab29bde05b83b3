import Basics
import Compute
import Models

/// A model's tensors as random numbers that a seed and each tensor's name fix, the same for every backend.
struct RandomTensors: TensorSource {
  let spec: ModelSpec
  /// The format of the matrices; one of ggml's blocks stands for a GGUF file.
  let stored: StorageFormat
  let seed: UInt64

  func weight(_ name: TensorName, rows: Int, columns: Int) throws(SwiftletError) -> Weight {
    var random = RandomStream(seed: seed, "\(name)")
    let kind = WeightKind(format: stored, interleavedHead: interleavedHead(name))
    return try HostWeight(kind, rows: rows, columns: columns, using: &random).upload(to: CPU(threads: 1))
  }

  /// Norms around 1, biases around 0.
  func vector(_ name: TensorName, count: Int) throws(SwiftletError) -> [Float] {
    var random = RandomStream(seed: seed, "\(name)")
    let centre: Float = if case .bias = name { 0 } else { 1 }
    return (0..<count).map { _ in centre + Float(random.uniform()) / 4 }
  }

  /// Where llama.cpp has the rows of q and k in another order.
  private func interleavedHead(_ name: TensorName) -> Int32 {
    guard stored.blockSize > 1, spec.family == .llama, case .weight(let kind, _) = name else { return 0 }
    return kind == .q || kind == .k ? Int32(spec.headSize) : 0
  }
}
