import Foundation

/// Numbers that a run left, to be compared with another run's: losses, gradients or parameters.
struct Outcome: Sendable {
  let name: String
  let values: [Double]
  /// Elements of a row.
  let columns: Int

  init(_ name: String, _ values: [Double], columns: Int? = nil) {
    self.name = name
    self.values = values
    self.columns = columns ?? values.count
  }

  /// ‖self - expected‖ / ‖expected‖; 0 where both are all zeros.
  func error(from expected: Outcome) -> Double {
    precondition(name == expected.name && values.count == expected.values.count)
    let difference = zip(values, expected.values).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    return difference == 0 ? 0 : (difference / expected.values.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  /// Elements that differ in any bit.
  func differences(from expected: Outcome) -> Int {
    precondition(name == expected.name && values.count == expected.values.count)
    return zip(values, expected.values).count { $0.bitPattern != $1.bitPattern }
  }

  /// Where the element stands that is farthest off, and its values.
  fileprivate func worstElement(_ expected: Outcome) -> String {
    let distances = zip(values, expected.values).map { $0.isNaN ? .infinity : abs($0 - $1) }
    guard let index = distances.indices.max(by: { distances[$0] < distances[$1] }) else { return "" }
    let place = "[\(index / columns), \(index % columns)]"
    return "the worst element, \(place), is \(values[index]), expected \(expected.values[index])"
  }
}

extension [Outcome] {
  /// The worst of those whose error exceeds their tolerance; nil when none does.
  func complaint(expected: [Outcome], tolerances: [Double]) -> String? {
    // How many times too far. NaN counts as too far.
    let excess = indices.map { index in
      let ratio = self[index].error(from: expected[index]) / tolerances[index]
      return ratio.isNaN ? .infinity : ratio
    }
    guard let worst = indices.max(by: { excess[$0] < excess[$1] }), excess[worst] > 1 else { return nil }
    return "\(self[worst].name): off by \(self[worst].error(from: expected[worst])) of its norm, tolerance "
      + "\(tolerances[worst]); \(self[worst].worstElement(expected[worst]))"
      + others(excess.count { $0 > 1 } - 1)
  }

  /// The first of those that are not the same, bit for bit; nil when all are.
  func complaint(sameAs expected: [Outcome]) -> String? {
    let different = indices.filter { self[$0].differences(from: expected[$0]) > 0 }
    guard let first = different.first else { return nil }
    let count = self[first].differences(from: expected[first])
    return "\(self[first].name): \(count) of \(self[first].values.count) elements differ; "
      + self[first].worstElement(expected[first]) + others(different.count - 1)
  }

  private func others(_ number: Int) -> String {
    number == 0 ? "" : "; so it is with \(number) of \(count - 1) others"
  }
}
