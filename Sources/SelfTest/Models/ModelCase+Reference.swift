import Compute
import Text

/// Against the CPU in double precision, within what rounding explains.
extension ModelCase {
  func checkGradients(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    let batch = try texts(seed).plan(isPacked: isPacked).epoch(0)[0]
    func run(_ backend: any Backend, _ dtype: DType) throws -> [Outcome] {
      try PreparedModel(self, seed: seed, on: backend).gradients(of: [batch], compute: dtype)
    }
    return complaint(
      try run(backend, dtype), exact: try run(CPU(), .f64), rounded: try run(CPU(), dtype), floor: dtype.floor
    )
  }

  /// Parameters are not compared: where a gradient is all rounding, AdamW's first updates make it a whole step.
  func checkUpdates(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    let data = try texts(seed).plan(isPacked: isPacked)
    func run(_ backend: any Backend, _ dtype: DType) throws -> [Outcome] {
      try PreparedModel(self, seed: seed, on: backend).train(on: data, optimizer, compute: dtype)
    }
    // The second and third update begin with what rounding did to parameters and to 8-bit moments.
    return complaint(
      try run(backend, dtype), exact: try run(CPU(), .f64), rounded: try run(CPU(), dtype),
      floor: max(dtype.floor, 1e-4))
  }

  /// Sequences that share a row, against each in a row of its own.
  func checkPacking(on backend: any Backend, _ dtype: DType, _ seed: UInt64) throws -> String? {
    let texts = try texts(seed)
    func run(_ batches: [PackedBatch], _ backend: any Backend, _ dtype: DType) throws -> [Outcome] {
      try PreparedModel(self, seed: seed, on: backend).gradients(of: batches, compute: dtype)
    }
    return complaint(
      try run([texts.together], backend, dtype), exact: try run(texts.apart, CPU(), .f64),
      rounded: try run(texts.apart, backend, dtype), floor: dtype.floor)
  }

  /// What lies farther from `exact` than `floor` and three times what `rounded` does, another computation in the
  /// dtype under test.
  private func complaint(
    _ got: [Outcome], exact: [Outcome], rounded: [Outcome], floor: Double
  ) -> String? {
    let tolerances = zip(rounded, exact).map { floor + 3 * $0.error(from: $1) }
    return got.complaint(expected: exact, tolerances: tolerances)
  }
}

extension ModelCase {
  func texts(_ seed: UInt64) throws -> RandomTexts {
    RandomTexts(vocabulary: try spec.vocabularySize, seed: seed)
  }
}

extension DType {
  /// The error that rounding may make in the norm of a gradient, without being known better.
  var floor: Double { self == .f32 ? 1e-5 : 1e-2 }
}
