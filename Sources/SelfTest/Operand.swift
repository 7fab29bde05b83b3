import Compute

/// A matrix that a case reads or writes in memory of its own, outside the step's arena.
struct Operand: Sendable {
  enum Element: Sendable {
    /// The dtype under test.
    case activation
    /// The type of that dtype's sums, losses and residual stream: f32, or f64 for f64.
    case arithmetic
    case fixed(DType)
    /// A weight matrix in a storage format.
    case weight(WeightKind)

    func dtype(_ activation: DType) -> DType {
      switch self {
      case .activation: activation
      case .arithmetic: activation.arithmetic
      case .fixed(let dtype): dtype
      case .weight: .u8
      }
    }
  }

  /// What an operand holds before the case runs.
  enum Content: Sendable {
    /// `value` of uniform numbers in [-1, 1].
    case random(_ value: @Sendable (Double) -> Double)
    case computed(@Sendable (_ row: Int, _ column: Int, inout RandomStream) -> Double)
    /// Random, but zero when gradients are checked: the operation adds a gradient to it.
    case sum
    /// NaN everywhere: the operation must write every element.
    case poison
  }

  let name: String
  let rows: Int
  let columns: Int
  let element: Element
  let content: Content
  /// Everything else must be found unchanged.
  var isWritten = false
  /// Rows may be cut out of wider ones.
  var isStrided = false

  /// An activation or a gradient that is read: uniform in [-scale, scale].
  static func input(
    _ name: String, _ rows: Int, _ columns: Int, as element: Element = .activation, scale: Double = 1
  ) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: element, content: .random { $0 * scale },
      isStrided: true)
  }

  /// Float memory that is read, such as a norm's weight: uniform in centre ± scale.
  static func parameter(
    _ name: String, _ rows: Int, _ columns: Int, centre: Double = 0, scale: Double = 1
  ) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: .fixed(.f32),
      content: .random { centre + $0 * scale })
  }

  /// What only a rule can give: labels, positions, tables.
  static func values(
    _ name: String, _ rows: Int, _ columns: Int, _ dtype: DType,
    _ value: @escaping @Sendable (_ row: Int, _ column: Int, inout RandomStream) -> Double
  ) -> Operand {
    Operand(name: name, rows: rows, columns: columns, element: .fixed(dtype), content: .computed(value))
  }

  static func weight(_ name: String, _ rows: Int, _ columns: Int, _ kind: WeightKind) -> Operand {
    Operand(name: name, rows: rows, columns: columns, element: .weight(kind), content: .random { $0 })
  }

  /// Written whole.
  static func output(
    _ name: String, _ rows: Int, _ columns: Int, as element: Element = .activation
  ) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: element, content: .poison, isWritten: true,
      isStrided: true)
  }

  /// An activation that is read and then written.
  static func updated(_ name: String, _ rows: Int, _ columns: Int) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: .activation, content: .sum, isWritten: true,
      isStrided: true)
  }

  /// Float memory that a gradient is added to.
  static func sum(_ name: String, _ rows: Int, _ columns: Int) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: .fixed(.f32), content: .sum, isWritten: true)
  }

  /// Memory that an optimiser keeps: read and written.
  static func state(
    _ name: String, _ rows: Int, _ columns: Int, _ dtype: DType = .f32,
    _ value: @escaping @Sendable (Double) -> Double
  ) -> Operand {
    Operand(
      name: name, rows: rows, columns: columns, element: .fixed(dtype), content: .random(value),
      isWritten: true)
  }
}
