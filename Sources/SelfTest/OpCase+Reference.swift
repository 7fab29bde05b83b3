import Compute

extension OpCase {
  /// Compares every result with the reference, within what rounding explains, and looks for writes to memory
  /// that is not the operation's.
  public func checkReference(on backend: any Backend, _ dtype: DType, seed: UInt64) throws -> [CheckFailure] {
    let operands = try HostOperands(self, dtype, seed: seed)
    let run = try PreparedCase(self, operands, on: backend).run()
    let expected = reference(operands.values)
    var complaints = run.damage
    let names = Set(run.results.keys)
    precondition(names == Set(expected.keys), "\(name): run and reference name different results")
    for name in names.sorted() {
      guard let got = run.results[name], let expected = expected[name] else { continue }
      complaints += Self.mismatch(name, got, expected, dtype).map { [$0] } ?? []
    }
    return complaints.map { CheckFailure(name, dtype, seed: seed, $0) }
  }

  /// The worst of the elements that lie too far from the reference.
  private static func mismatch(
    _ name: String, _ got: Matrix<Double>, _ expected: Matrix<Uncertain>, _ dtype: DType
  ) -> String? {
    precondition(got.elements.count == expected.elements.count, "\(name): the reference has another shape")
    var worst: (index: Int, excess: Double)?
    var count = 0
    for (index, (got, expected)) in zip(got.elements, expected.elements).enumerated() {
      if got == expected.value || (got.isNaN && expected.value.isNaN) { continue }
      let excess = abs(got - expected.value) / expected.tolerance(dtype)
      // Written so that NaN counts as too far.
      if excess <= 1 { continue }
      count += 1
      if worst.map({ !(excess <= $0.excess) && !$0.excess.isNaN }) ?? true { worst = (index, excess) }
    }
    guard let (index, excess) = worst else { return nil }
    let place = "[\(index / got.columns), \(index % got.columns)]"
    let wanted = expected.elements[index]
    return
      "\(name)\(place) is \(got.elements[index]), expected \(wanted.value) ± \(wanted.tolerance(dtype)): "
      + "\(excess) tolerances off, the worst of \(count) such in \(got.elements.count)"
  }
}
