import Basics
import CKernels
import Compute

extension Decoder {
  /// Gives every layer that `configuration` chooses a low-rank adapter, new: A uniform within 1 / sqrt(in)
  /// (Kaiming's with a = sqrt 5), B zero, so that the model computes what it did.
  ///
  /// - Returns: the parameters to train, named as in PEFT's files.
  /// - Throws: `.invalidConfiguration` when no layer is chosen.
  public mutating func addLoRA(
    _ configuration: LoRAConfiguration, seed: UInt64, on backend: any Backend
  ) throws(SwiftletError) -> Parameters {
    var layout = Parameters.Layout()
    var sites: [LoRASite] = []
    try forEachLinear { linear, layer throws(SwiftletError) in
      sites.append(try LoRASite(linear, layer: layer, configuration, &layout))
    }
    guard sites.contains(where: { $0.down != nil }) else {
      throw SwiftletError(
        .invalidConfiguration, "target_modules chooses no layer of this model",
        remedy: "Layers end in: \(ModuleKind.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    let saved = try savedModules(configuration, &layout)
    let parameters = try Parameters(layout, on: backend)
    var next = sites.makeIterator()
    var stream: UInt64 = 0
    forEachLinear { linear in
      next.next()?.attach(to: &linear, parameters, configuration, seed: seed, stream: stream)
      stream += 1
    }
    attach(saved, parameters)
    return parameters
  }

  /// Every linear layer with its block's number, nil for the head.
  private func forEachLinear(
    _ body: (Linear, _ layer: Int?) throws(SwiftletError) -> Void
  ) throws(SwiftletError) {
    for block in blocks {
      for path in Block.linears { try body(block[keyPath: path], block.layer) }
    }
    try body(head, nil)
  }

  private mutating func forEachLinear(_ body: (inout Linear) -> Void) {
    for index in blocks.indices {
      for path in Block.linears { body(&blocks[index][keyPath: path]) }
    }
    body(&head)
  }

  // MARK: Modules trained whole

  private enum SavedModule {
    case embedding(entry: Int)
    case head(entry: Int)
  }

  private func savedModules(
    _ configuration: LoRAConfiguration, _ layout: inout Parameters.Layout
  ) throws(SwiftletError) -> [SavedModule] {
    var modules: [SavedModule] = []
    for name in configuration.modulesToSave {
      let path = "base_model.model."
      switch name {
      case "embed_tokens":
        modules.append(
          .embedding(
            entry: layout.add(
              path + "model.embed_tokens.weight", rows: embedding.rows, columns: embedding.columns)))
      case "lm_head":
        modules.append(
          .head(entry: layout.add(path + "lm_head.weight", rows: head.outputs, columns: head.inputs)))
      default:
        throw SwiftletError(
          .unsupported, "modules_to_save: '\(name)' cannot be trained whole",
          remedy: "It may hold embed_tokens and lm_head.")
      }
    }
    return modules
  }

  private mutating func attach(_ modules: [SavedModule], _ parameters: Parameters) {
    for module in modules {
      switch module {
      case .embedding(let entry):
        parameters.load(embedding, into: entry)
        embedding = parameters.weight(entry..<entry + 1)
        embeddingGradient = parameters.gradient(entry..<entry + 1)
      case .head(let entry):
        parameters.load(head.parts[0].weight, into: entry)
        head.parts[0].weight = parameters.weight(entry..<entry + 1)
        head.parts[0].weightGradient = parameters.gradient(entry..<entry + 1)
      }
    }
  }
}

extension Block {
  /// The block's linear layers, in the order of the forward pass.
  static let linears: [WritableKeyPath<Block, Linear> & Sendable] = [\.qkv, \.output, \.gateUp, \.down]
}

/// What one `Linear` gets: entries for the A of each adapted part, one after the other, then the B of each, then
/// biases.
private struct LoRASite {
  struct Adapter {
    var part: Int
    var rank: Int
    var scale: Float
    /// Entry of B.
    var up = 0
  }

  var adapters: [Adapter] = []
  /// Entries of A.
  var down: Range<Int>?
  /// Part and entry.
  var biases: [(part: Int, entry: Int)] = []

  init(
    _ linear: Linear, layer: Int?, _ configuration: LoRAConfiguration, _ layout: inout Parameters.Layout
  ) throws(SwiftletError) {
    for (index, part) in linear.parts.enumerated() {
      if let (rank, scale) = try configuration.adapter(for: part.name, layer: layer) {
        adapters.append(Adapter(part: index, rank: rank, scale: scale))
      }
    }
    let first = layout.entries.count
    for adapter in adapters {
      let name = "base_model.model.\(linear.parts[adapter.part].name).lora_A.weight"
      _ = layout.add(name, rows: adapter.rank, columns: linear.inputs)
    }
    if !adapters.isEmpty { down = first..<layout.entries.count }
    for index in adapters.indices {
      let part = linear.parts[adapters[index].part]
      adapters[index].up = layout.add(
        "base_model.model.\(part.name).lora_B.weight", rows: part.weight.rows, columns: adapters[index].rank)
    }
    for (index, part) in linear.parts.enumerated() where part.bias != nil {
      let adapted = adapters.contains { $0.part == index }
      guard configuration.bias == .all || configuration.bias == .loraOnly && adapted else { continue }
      let name = "base_model.model.\(part.name)\(adapted ? ".base_layer" : "").bias"
      biases.append((index, layout.add(name, rows: 1, columns: part.weight.rows)))
    }
  }

  func attach(
    to linear: inout Linear, _ parameters: Parameters, _ configuration: LoRAConfiguration, seed: UInt64,
    stream: UInt64
  ) {
    linear.dropoutStream = stream
    for (part, entry) in biases {
      if let bias = linear.parts[part].bias { parameters.load(bias, into: entry) }
      linear.parts[part].bias = parameters.value(entry..<entry + 1)
      linear.parts[part].biasGradient = parameters.gradient(entry..<entry + 1)
    }
    guard let down else { return }
    linear.down = Linear.Down(
      weight: parameters.weight(down), gradient: parameters.gradient(down),
      dropout: Float(configuration.dropout))
    var column = 0
    for (adapter, downEntry) in zip(adapters, down) {
      let bound = 1 / Float(linear.inputs).squareRoot()
      parameters.withValues(downEntry) {
        sw_fill_uniform($0.baseAddress, Int64($0.count), seed, UInt64(downEntry), -bound, bound)
      }
      parameters.withValues(adapter.up) { $0.update(repeating: 0) }
      linear.parts[adapter.part].adapter = Linear.LowRank(
        columns: column..<column + adapter.rank, up: parameters.weight(adapter.up..<adapter.up + 1),
        upGradient: parameters.gradient(adapter.up..<adapter.up + 1), scale: adapter.scale)
      column += adapter.rank
    }
  }
}
