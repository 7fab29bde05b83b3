import Compute

extension OpCase {
  /// Compares gradients with finite differences of the loss, in double.
  ///
  /// Along a random direction, with D(h) = (L(h) - L(-h)) / 2h: L'(0) = (4 D(h) - D(2h)) / 3 + O(h⁴). The same
  /// with steps twice as long errs sixteen times as much, so that their difference bounds the error. Every
  /// element of the operand moves at once, by multiples of the grid its values lie on: float operands hold
  /// them exactly.
  public func checkGradients(on backend: any Backend, seed: UInt64) throws -> [CheckFailure] {
    let operands = try HostOperands(self, .f64, seed: seed, forGradients: true)
    let gradient = try PreparedCase(self, operands, on: backend).run()
    var failures: [CheckFailure] = []
    for (name, gradientName) in gradients.sorted(by: { $0.key < $1.key }) {
      guard let analytic = gradient.results[gradientName] else {
        preconditionFailure("\(self.name) has no result \(gradientName)")
      }
      let isFloat = self.operands.contains { $0.name == gradientName && $0.isFloat }
      var random = RandomStream(seed: seed, "\(self.name) \(name) direction")
      for _ in 0..<2 {
        let direction = analytic.elements.map { _ in Double(Int.random(in: -4...4, using: &random)) / 4 }
        let products = zip(analytic.elements, direction).map { $0 * $1 }
        let predicted = products.reduce(0, +)
        let magnitude = products.reduce(0) { $0 + abs($1) }
        let (measured, error) = try derivative(of: operands, name, direction, on: backend)
        let tolerance = magnitude * (isFloat ? 0x1p-23 : 0x1p-30) + error
        if !(abs(predicted - measured) <= tolerance) {
          failures.append(
            CheckFailure(
              self.name, .f64, seed: seed,
              "\(gradientName) gives \(predicted) along a direction in which the loss changes by \(measured), "
                + "tolerance \(tolerance)"))
        }
      }
    }
    return failures
  }

  /// The loss's slope along `direction`, and how far that may be wrong.
  private func derivative(
    of operands: HostOperands, _ name: String, _ direction: [Double], on backend: any Backend
  ) throws -> (slope: Double, error: Double) {
    let step = 0x1p-9
    var roundoff = 0.0
    // (L(ih) - L(-ih)) / 2ih for i = 1, 2, 4
    let central = try [1.0, 2, 4].map { i in
      let (ahead, behind) = try (loss(i), loss(-i))
      roundoff = ahead.magnitude * 0x1p-45 / step
      return (ahead.value - behind.value) / (2 * i * step)
    }
    func loss(_ steps: Double) throws -> (value: Double, magnitude: Double) {
      let moved = operands.moved(name, by: steps * step, along: direction)
      return self.loss(try PreparedCase(self, moved, on: backend).run().results, operands)
    }
    let slope = (4 * central[0] - central[1]) / 3
    let coarser = (4 * central[1] - central[2]) / 3
    return (slope, roundoff + abs(slope - coarser))
  }

  /// The loss, and the sum of its terms' magnitudes.
  private func loss(
    _ results: [String: Matrix<Double>], _ operands: HostOperands
  ) -> (value: Double, magnitude: Double) {
    var value = 0.0
    var magnitude = 0.0
    for (result, weight) in loss {
      guard let result = results[result], let weight = operands.matrices[weight] else {
        preconditionFailure("\(name): the loss names no result and operand")
      }
      for (a, b) in zip(result.elements, weight.elements) {
        value += a * b
        magnitude += abs(a * b)
      }
    }
    return (value, magnitude)
  }
}

extension Operand {
  /// Whether the operand is float memory even in double.
  fileprivate var isFloat: Bool {
    if case .fixed(.f32) = element { true } else { false }
  }
}
