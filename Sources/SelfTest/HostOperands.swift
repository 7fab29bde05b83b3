import Compute

/// The operands of one case with fresh random content, on the host.
struct HostOperands {
  let dtype: DType
  private(set) var matrices: [String: Matrix<Double>] = [:]
  private(set) var weights: [String: HostWeight] = [:]

  /// - Parameter forGradients: puts random values on a grid that finite differences stay on, and clears sums.
  init(_ operation: OpCase, _ dtype: DType, seed: UInt64, forGradients: Bool = false) throws {
    self.dtype = dtype
    for operand in operation.operands {
      var random = RandomStream(seed: seed, "\(operation.name) \(operand.name)")
      if case .weight(let kind) = operand.element {
        let weight = HostWeight(kind, rows: operand.rows, columns: operand.columns, using: &random)
        weights[operand.name] = weight
        matrices[operand.name] = try weight.decoded()
      } else {
        let type = operand.element.dtype(dtype)
        matrices[operand.name] = Matrix(operand.rows, operand.columns) { row, column in
          type.round(operand.content.value(row, column, forGradients, &random))
        }
      }
    }
  }

  /// What the reference reads.
  var values: Values { Values(matrices: matrices.mapValues { $0.map { Uncertain($0) } }) }

  /// The same operands with `step` times `direction` added to operand `name`.
  func moved(_ name: String, by step: Double, along direction: [Double]) -> HostOperands {
    var moved = self
    for (index, part) in direction.enumerated() { moved.matrices[name]?.elements[index] += step * part }
    return moved
  }
}

extension Operand.Content {
  fileprivate func value(
    _ row: Int, _ column: Int, _ forGradients: Bool, _ random: inout RandomStream
  ) -> Double {
    switch self {
    case .random(let value): value(random.uniform(onGrid: forGradients))
    case .computed(let value): value(row, column, &random)
    case .sum: forGradients ? 0 : random.uniform()
    case .poison: 0
    }
  }
}
