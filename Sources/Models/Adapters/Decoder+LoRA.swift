import Basics
import CKernels
import Compute

extension Decoder {
  /// Gives every layer that `configuration` chooses a low-rank adapter, new: A uniform within 1 / sqrt(in)
  /// (Kaiming's with a = sqrt 5), B zero, so that the model computes what it did.
  ///
  /// - Returns: the parameters to train, named as in PEFT's files.
  /// - Throws: `.invalidConfiguration` when no layer is chosen, or one that there is not; `.unsupported` when the embedding is, or a module
  ///   that cannot be trained whole.
  /// - Precondition: nothing is trained yet.
  public mutating func addLoRA(
    _ configuration: LoRAConfiguration, seed: UInt64, on backend: any Backend
  ) throws(SwiftletError) -> Parameters {
    precondition(parameters == nil)
    if try configuration.trainsHead { try placeHead(onDevice: true) }
    if let stranger = configuration.layersToTransform?.first(where: { !(0..<spec.layers).contains($0) }) {
      throw SwiftletError(
        .invalidConfiguration,
        "layers_to_transform names layer \(stranger), but this model has \(spec.layers) layers",
        remedy: "They are counted from 0: the last is \(spec.layers - 1).")
    }
    var layout = Parameters.Layout()
    var sites: [LoRASite] = []
    for (path, layer) in linears {
      sites.append(try LoRASite(self[keyPath: path], layer: layer, configuration, &layout))
    }
    guard sites.contains(where: { $0.down != nil }) else {
      throw SwiftletError(
        .invalidConfiguration, "target_modules chooses no layer of this model",
        remedy: "Layers end in: \(ModuleKind.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    let embeddingPath = "model.embed_tokens"
    guard try configuration.adapter(for: embeddingPath, layer: nil) == nil else {
      throw SwiftletError(
        .unsupported, "target_modules chooses \(embeddingPath), which cannot have an adapter",
        remedy: "Train it whole: modules_to_save may hold embed_tokens.")
    }
    let whole = try WholeModules(configuration.modulesToSave, of: self, &layout)
    let parameters = try Parameters(layout, on: backend)
    for (layer, ((path, _), site)) in zip(linears, sites).enumerated() {
      try site.attach(
        to: &self[keyPath: path], parameters, configuration, seed: seed, layer: UInt64(layer))
    }
    whole.attach(to: &self, parameters)
    self.parameters = parameters
    return parameters
  }
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
    let first = layout.count
    for adapter in adapters {
      let name = AdapterKey.lowRank("A", linear.parts[adapter.part].name)
      _ = layout.add(name, rows: adapter.rank, columns: linear.inputs)
    }
    if !adapters.isEmpty { down = first..<layout.count }
    for index in adapters.indices {
      let part = linear.parts[adapters[index].part]
      adapters[index].up = layout.add(
        AdapterKey.lowRank("B", part.name), rows: part.weight.rows, columns: adapters[index].rank)
    }
    for (index, part) in linear.parts.enumerated() where part.bias != nil {
      let adapted = adapters.contains { $0.part == index }
      guard configuration.bias == .all || configuration.bias == .loraOnly && adapted else { continue }
      let name = AdapterKey.bias(part.name, adapted: adapted)
      biases.append((index, layout.addVector(name, count: part.weight.rows)))
    }
  }

  func attach(
    to linear: inout Linear, _ parameters: Parameters, _ configuration: LoRAConfiguration, seed: UInt64,
    layer: UInt64
  ) throws(SwiftletError) {
    linear.dropoutLayer = layer
    for (part, entry) in biases { linear.parts[part].trainBias(parameters, entry..<entry + 1) }
    guard let down else { return }
    linear.down = Linear.Down(
      weight: parameters.weight(down), gradient: parameters.gradient(down),
      dropout: Float(configuration.dropout))
    var column = 0
    for (adapter, downEntry) in zip(adapters, down) {
      let bound = 1 / Float(linear.inputs).squareRoot()
      // B stays zero.
      let count = parameters.entries[downEntry].count
      let values = [Float](unsafeUninitializedCapacity: count) {
        sw_fill_uniform($0.baseAddress, Int64(count), seed, UInt64(downEntry), -bound, bound)
        $1 = count
      }
      try parameters.setValues(of: downEntry, to: values)
      linear.parts[adapter.part].adapter = Linear.LowRank(
        columns: column..<column + adapter.rank, up: parameters.weight(adapter.up..<adapter.up + 1),
        upGradient: parameters.gradient(adapter.up..<adapter.up + 1), scale: adapter.scale)
      column += adapter.rank
    }
  }
}

/// PEFT's `modules_to_save`: matrices that are trained whole beside the adapters. With a tied head, each of the
/// two becomes its own.
private struct WholeModules {
  private var embedding: Int?
  private var head: Int?

  init(
    _ names: [String], of model: Decoder, _ layout: inout Parameters.Layout
  ) throws(SwiftletError) {
    for name in Set(names).sorted() {
      switch name {
      case "embed_tokens", "model.embed_tokens":
        embedding = layout.add(
          AdapterKey.whole(.embedding), rows: model.embedding.rows, columns: model.embedding.columns)
      case "lm_head":
        head = layout.add(AdapterKey.whole(.head), rows: model.head.outputs, columns: model.head.inputs)
      default:
        throw SwiftletError(
          .unsupported, "modules_to_save: '\(name)' cannot be trained whole",
          remedy: "It may hold embed_tokens and lm_head.")
      }
    }
  }

  func attach(to model: inout Decoder, _ parameters: Parameters) {
    if let embedding { model.train(.embedding, parameters, embedding) }
    if let head { model.train(.weight(\.head, part: 0), parameters, head) }
  }
}
