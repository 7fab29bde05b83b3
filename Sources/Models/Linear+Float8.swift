import Basics
import Compute

extension Linear {
  /// What products in float8 need of frozen weights beside their codes, which each product makes anew.
  public struct Float8 {
    /// (1, out), f32: what each row's codes are multiplied by.
    let scales: Tensor
    /// (1, in), f32.
    let ones: Tensor
    /// Their memory.
    let owner: Buffer
  }

  /// Whether these layers' products can be in float8: frozen weights of a shape that it serves, and biases only beside
  /// adapters, whose product adds them.
  var servesFloat8: Bool {
    (down != nil || parts.allSatisfy { $0.bias == nil })
      && parts.allSatisfy {
        $0.weightGradient == nil && $0.weight.columns % 16 == 0 && $0.weight.rows % 16 == 0
      }
  }

  /// y = x Wᵀ in float8 + adapters, biases and residual in x's dtype, which are there first: the product adds to them.
  ///
  /// Of x Wᵀ, each row of x and each row of W has a scale.
  func forward(
    _ input: Operand, into y: Tensor, _ float8: Float8, _ s: Step, adding residual: Tensor?,
    dropouts: Dropouts?
  ) {
    let x = input.main
    var addend = residual
    if let h = input.side {
      project(input, s, dropouts: dropouts)
      s.product(
        h, rowsOf: s.expandUps(expansion, dtype: x.dtype), bias: bias(s), adding: residual, into: y)
      addend = y
    }
    let codes = s.float8(parts.map(\.weight), scales: float8.scales, transposed: false)
    s.product(
      s.float8(x), rowsOf: Float8Rows(codes: codes, scales: float8.scales), adding: addend, into: y)
  }

  /// dx = dy W in float8 + the adapters' part in dy's dtype.
  ///
  /// Summed over W's rows, their scales cannot stay outside: they go into dy before it is scaled itself, so that forward
  /// and backward multiply by the same codes.
  func inputGradient(
    _ gradient: Operand, _ float8: Float8, _ s: Step, _ dropouts: Dropouts?, into: Tensor?
  ) -> Tensor {
    let dy = gradient.main
    let dx = into ?? s.make(dy.rows, inputs, dy.dtype)
    var addend: Tensor?
    if let down, let dh = gradient.side {
      s.linearInputGradient([Factor(dh, down.weight)], into: dx)
      if let dropout = dropouts?.dropout(down.dropout, layer: dropoutLayer) {
        _ = s.dropout(dx, dropout, into: dx)
      }
      addend = dx
    }
    let codes = s.float8(parts.map(\.weight), scales: float8.scales, transposed: true)
    s.product(
      s.float8(dy, times: float8.scales), rowsOf: Float8Rows(codes: codes, scales: float8.ones),
      adding: addend, into: dx)
    return dx
  }
}

extension Decoder {
  /// Lets the blocks' products with frozen weights be in float8, both of activations and of their gradients; the head and
  /// adapters stay as they are.
  ///
  /// - Precondition: what is trained is attached.
  /// - Throws: `.outOfMemory`; `.unsupported` when no layer is served.
  public mutating func useFloat8() throws {
    let paths = linears.filter { $0.layer != nil && self[keyPath: $0.path].servesFloat8 }.map(\.path)
    guard !paths.isEmpty else {
      throw SwiftletError(
        .unsupported,
        "float8 products are for frozen weights whose sides are multiples of 16: this model has none",
        remedy: "Train adapters (finetuning_type: lora), or set compute: bfloat16.")
    }
    for path in paths { self[keyPath: path].float8 = try makeFloat8(self[keyPath: path]) }
    try Step.runOnce(on: backend) { s in
      for linear in paths.map({ self[keyPath: $0] }) {
        guard let scales = linear.float8?.scales else { continue }
        for (part, range) in zip(linear.parts, linear.columns) {
          s.float8Scales(part.weight, into: scales.columns(range))
        }
      }
    }
    try backend.synchronize()
  }

  /// Lets all products be in the compute type again.
  public mutating func dropFloat8() {
    for (path, _) in linears { self[keyPath: path].float8 = nil }
  }

  /// Room for `linear`'s scales, and ones.
  private func makeFloat8(_ linear: Linear) throws(SwiftletError) -> Linear.Float8 {
    // cuBLASLt wants scales at multiples of 256 bytes.
    let (size, unit) = (MemoryLayout<Float>.size, 256)
    let offset = (linear.outputs * size + unit - 1) / unit * unit
    let memory = try backend.allocate(bytes: offset + linear.inputs * size)
    let ones = Tensor(memory, offset: offset, rows: 1, columns: linear.inputs, dtype: .f32)
    try ones.write([Float](repeating: 1, count: linear.inputs), on: backend)
    return Linear.Float8(
      scales: Tensor(memory, rows: 1, columns: linear.outputs, dtype: .f32), ones: ones, owner: memory)
  }
}
