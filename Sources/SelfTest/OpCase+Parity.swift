import Compute

extension OpCase {
  /// Compares two backends that must give the same bits, such as one on one thread and one on several.
  public func checkParity(
    _ first: any Backend, _ second: any Backend, _ dtype: DType, seed: UInt64
  ) throws -> [CheckFailure] {
    let operands = try HostOperands(self, dtype, seed: seed)
    let one = try PreparedCase(self, operands, on: first).run()
    let other = try PreparedCase(self, operands, on: second).run()
    return one.results.sorted { $0.key < $1.key }.compactMap { name, matrix in
      guard let elements = other.results[name]?.elements else { return nil }
      let different = zip(matrix.elements, elements).filter { $0.bitPattern != $1.bitPattern }
      return different.first.map {
        CheckFailure(
          self.name, dtype, seed: seed,
          "\(name) differs in \(different.count) of \(elements.count) elements: \($0.0) on "
            + "\(first.name), \($0.1) on \(second.name)")
      }
    }
  }
}
