import Compute
import Models
import Text

/// A backend against itself, bit for bit where it can be.
extension ModelCase {
  /// Bit for bit, but for slices, which add gradients up in another order. On a GPU within rounding: what is left out moves
  /// what stays, and where a matrix lies decides which of several kernels multiplies it.
  func checkCheckpointing(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    let batch = try texts(seed).plan(isPacked: isPacked).epoch(0)[0]
    let model = try PreparedModel(self, seed: seed, on: backend)
    let kept = try model.gradients(of: [batch], compute: dtype, .keep)
    for policy in LayerPolicy.allCases.dropFirst() {
      let outcomes = try model.gradients(
        of: [batch], compute: dtype, policy.checkpointing, isOffloaded: policy.isOffloaded)
      let complaint =
        backend.hasHostMemory && policy.checkpointing != .sliced
        ? outcomes.complaint(sameAs: kept)
        : outcomes.complaint(expected: kept, tolerances: kept.map { _ in dtype.floor })
      if let complaint { return "\(policy): \(complaint)" }
    }
    return nil
  }

  func checkReplay(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    try compareRuns(.recorded, .eager, on: backend, dtype, seed)
  }

  func checkRepetition(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    try compareRuns(.recorded, .recorded, on: backend, dtype, seed)
  }

  private func compareRuns(
    _ one: PreparedModel.StepMode, _ other: PreparedModel.StepMode, on backend: any Backend, _ dtype: DType,
    _ seed: UInt64
  ) throws -> String? {
    let data = try texts(seed).plan(isPacked: isPacked)
    func run(_ mode: PreparedModel.StepMode) throws -> [Outcome] {
      let model = try PreparedModel(self, seed: seed, on: backend)
      let progress = try model.train(on: data, optimizer, compute: dtype, mode)
      return try progress + model.parameters.outcomes { try model.parameters.values(of: $0) }
    }
    return try run(one).complaint(sameAs: run(other))
  }
}
