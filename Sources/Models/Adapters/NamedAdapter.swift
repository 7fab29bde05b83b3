import Basics
import Compute

/// An adapter that may be one of several of a model.
public struct NamedAdapter {
  public let name: String
  /// What rows name it by; above 0.
  public let number: Int32
  /// A's and B's of the decoder's linears, in their order, in the host's memory.
  fileprivate let factors: [Factors]

  fileprivate struct Factors {
    /// A of all adapted parts, one above the other, (R, in).
    var down: [Float] = []
    var parts: [Part] = []
  }

  fileprivate struct Part {
    var columns: Range<Int>
    /// scale * B, (out, rank).
    var up: [Float]
  }

  /// Reads a PEFT adapter folder.
  ///
  /// - Throws: `.mismatch` when it does not fit `model`; `.unsupported` when it changes more than linear layers' low ranks.
  public init(_ folder: String, name: String, number: Int32, for model: Decoder) throws(SwiftletError) {
    self.name = name
    self.number = number
    let adapter = try AdapterFolder(path: folder)
    let configuration = adapter.configuration
    guard configuration.modulesToSave.isEmpty, configuration.bias == .none else {
      throw SwiftletError(
        .unsupported,
        "\(folder): it has modules_to_save or biases of its own, and cannot be one of several adapters",
        remedy: "Attach it to the model as its only adapter, or merge it.")
    }
    guard model.parameters == nil else {
      throw SwiftletError(.unsupported, "the model has an adapter attached: '\(name)' cannot be added to it")
    }
    var adapted = model
    // The factors stay in the host's memory: they go to the device beside those of other adapters.
    let host = try CPU(threads: 1)
    let parameters = try adapted.addLoRA(adapter, on: host)
    factors = try withExtendedLifetime(parameters) { () throws(SwiftletError) in
      try adapted.linears.map { path, _ throws(SwiftletError) in try Factors(adapted[keyPath: path]) }
    }
  }
}

extension NamedAdapter.Factors {
  fileprivate init(_ linear: Linear) throws(SwiftletError) {
    guard let down = linear.down else {
      parts = linear.parts.map { _ in NamedAdapter.Part(columns: 0..<0, up: []) }
      return
    }
    self.down = down.weight.floats()
    parts = linear.parts.map { part in
      guard let adapter = part.adapter else { return NamedAdapter.Part(columns: 0..<0, up: []) }
      return NamedAdapter.Part(
        columns: adapter.columns, up: adapter.up.floats().map { $0 * adapter.scale })
    }
  }
}

extension Decoder {
  /// This model with several adapters, of which each row names the one it is computed with, or none: their matrices lie
  /// side by side, and rows leave the others' columns of h out (compare Chen et al., Punica, arXiv:2310.18547).
  /// - Throws: `.outOfMemory`.
  public func adapted(by adapters: [NamedAdapter]) throws(SwiftletError) -> Decoder {
    guard !adapters.isEmpty else { return self }
    var model = self
    model.onlyAdapter = adapters.count == 1 ? adapters[0].number : nil
    for (index, (path, _)) in linears.enumerated() {
      try model[keyPath: path].attach(
        adapters.map { ($0.number, $0.factors[index]) }, on: backend)
    }
    return model
  }
}

extension Linear {
  /// Puts A's one above the other and B's side by side, part by part.
  fileprivate mutating func attach(
    _ adapters: [(number: Int32, factors: NamedAdapter.Factors)], on backend: any Backend
  ) throws(SwiftletError) {
    var (down, owners): ([Float], [Int32]) = ([], [])
    let inputs = inputs
    for index in parts.indices {
      let first = owners.count
      var columns: [[Float]] = []  // of B
      for (number, factors) in adapters {
        let part = factors.parts[index]
        let rank = part.columns.count
        guard rank > 0 else { continue }
        down += factors.down[part.columns.lowerBound * inputs..<part.columns.upperBound * inputs]
        owners += Array(repeating: number, count: rank)
        columns += (0..<rank).map { column in
          stride(from: column, to: part.up.count, by: rank).map { part.up[$0] }
        }
      }
      guard !columns.isEmpty else { continue }
      let outputs = parts[index].weight.rows
      let up = (0..<outputs * columns.count).map { columns[$0 % columns.count][$0 / columns.count] }
      parts[index].adapter = LowRank(
        columns: first..<owners.count,
        up: try Weight(up, rows: outputs, columns: columns.count, as: .f32, on: backend),
        upGradient: nil, scale: 1)
    }
    guard !owners.isEmpty else { return }
    let memory = try backend.allocate(bytes: owners.count * DType.i32.size)
    let table = Tensor(memory, rows: 1, columns: owners.count, dtype: .i32)
    try table.write(owners, on: backend)
    self.down = Down(
      weight: try Weight(down, rows: owners.count, columns: inputs, as: .f32, on: backend), gradient: nil,
      dropout: 0, owners: Owners(table: table, memory: memory))
  }
}
