import Compute

/// One operation, or a forward operation and its gradient, on operands of one shape: an entry of the table
/// that every backend is checked with.
///
/// Modes: against the reference (`OpCase+Reference`), gradients against finite differences (`+Gradient`), one
/// backend against another (`+Parity`), and speed (`+Speed`). One table, several modes, after ggml's
/// test-backend-ops.
public struct OpCase: Sendable {
  public let name: String
  /// Those the case can run in.
  public var dtypes: [DType] = [.f32, .bf16, .f64]
  let operands: [Operand]

  /// Runs the operation; returns what it made, by name. Operands that it wrote count as results too.
  let run: @Sendable (Step, Operands) -> [String: any OpResult]

  /// The same results, in plain Swift.
  let reference: @Sendable (Values) -> [String: Matrix<Uncertain>]

  /// Which results (or written operands) are the gradients by which operands.
  var gradients: [String: String] = [:]
  /// The loss that those are gradients of: the sum of results times these operands.
  var loss = ["y": "dy"]

  public var hasGradients: Bool { !gradients.isEmpty }

  /// Multiplications and additions, where they rather than memory should be the limit.
  var flops = 0.0
}

/// What a case's `run` may return.
protocol OpResult {}
extension Tensor: OpResult {}
extension Double: OpResult {}

/// A case's operands on the device: `t.x` is operand "x".
@dynamicMemberLookup
struct Operands {
  /// The dtype under test.
  let dtype: DType
  let tensors: [String: Tensor]
  let buffers: [String: Buffer]
  let weights: [String: Weight]

  subscript(dynamicMember name: String) -> Tensor { entry(name, of: tensors) }
  subscript(dynamicMember name: String) -> Weight { entry(name, of: weights) }

  /// The memory of operand `name`.
  func buffer(_ name: String) -> Buffer { entry(name, of: buffers) }

  /// Float operand `name` as a weight.
  func parameters(_ name: String) -> Weight { Weight(entry(name, of: tensors), owner: buffer(name)) }
}

/// A case's operands on the host, as the dtype rounded them: `v.x` is operand "x".
@dynamicMemberLookup
struct Values {
  let matrices: [String: Matrix<Uncertain>]

  subscript(dynamicMember name: String) -> Matrix<Uncertain> { entry(name, of: matrices) }
}

private func entry<Value>(_ name: String, of table: [String: Value]) -> Value {
  guard let value = table[name] else { preconditionFailure("the case has no such operand: \(name)") }
  return value
}

extension Uncertain {
  /// The value of an element that is an integer.
  var integer: Int { Int(value) }
}
