import Basics
import Compute

extension Decoder {
  /// Writes the adapters alone as a GGUF file that llama.cpp loads beside the base model: `NAME.lora_a` (rank, in) and
  /// `NAME.lora_b` (out, rank) for every adapted matrix.
  ///
  /// The file has one alpha, and llama.cpp scales each adapter by alpha / rank: where the configuration has another
  /// scale (`use_rslora`, patterns), B holds the difference.
  ///
  /// - Throws: `.unsupported` for what such a file cannot say: biases, whole modules, an adapter of a tied head, a type
  ///   whose blocks do not fill the rows; `.unwritable`.
  public func saveLoRAGGUF(
    to path: String, as type: GGUFType, name: String, configuration: LoRAConfiguration
  ) throws(SwiftletError) {
    try checkLoRAGGUF(configuration)
    let alpha = Float(configuration.alpha)
    let metadata = [
      GGUFEntry("general.architecture", .string(spec.family.ggufArchitecture)),
      GGUFEntry("general.type", .string("adapter")), GGUFEntry("general.name", .string(name)),
      GGUFEntry("general.file_type", type.fileType), GGUFEntry("adapter.type", .string("lora")),
      GGUFEntry("adapter.lora.alpha", .f32(alpha)),
    ]
    let adapters = tensors.compactMap(adapter)
    let entries = adapters.flatMap { $0.entries(type.format) }
    let writer = try GGUFWriter(path: path, metadata: metadata, tensors: entries)
    for adapter in adapters {
      let a = try adapter.down.rows(adapter.columns, on: backend)
      let factor = adapter.scale * Float(adapter.columns.count) / alpha
      let b = try adapter.up.rows(0..<adapter.up.rows, on: backend).map { factor * $0 }
      let ordered = Self.interleaved(
        b, head: isInterleaved(adapter.name) ? spec.headSize : 1, columns: adapter.columns.count)
      try writer.append(a.span, to: adapter.name.gguf + ".lora_a")
      try writer.append(ordered.span, to: adapter.name.gguf + ".lora_b")
    }
    try writer.finish()
  }

  private struct Adapter {
    let name: TensorName
    /// A of all parts, (sum of ranks, in)
    let down: Weight
    let columns: Range<Int>
    /// B, (out, rank)
    let up: Weight
    let scale: Float

    func entries(_ format: StorageFormat) -> [GGUFWriter.Entry] {
      let rank = columns.count
      // Ranks are seldom whole blocks.
      func fitting(_ columns: Int) -> StorageFormat { columns % format.blockSize == 0 ? format : .f16 }
      return [
        GGUFWriter.Entry(name.gguf + ".lora_a", [rank, down.columns], fitting(down.columns)),
        GGUFWriter.Entry(name.gguf + ".lora_b", [up.rows, rank], fitting(rank)),
      ]
    }
  }

  private func adapter(_ name: TensorName, _ site: TensorSite) -> Adapter? {
    guard case .weight(let path, let part) = site, let down = self[keyPath: path].down,
      let adapter = self[keyPath: path].parts[part].adapter
    else { return nil }
    return Adapter(
      name: name, down: down.weight, columns: adapter.columns, up: adapter.up, scale: adapter.scale)
  }

  private func checkLoRAGGUF(_ configuration: LoRAConfiguration) throws(SwiftletError) {
    func check(_ holds: Bool, _ what: String) throws(SwiftletError) {
      guard !holds else { return }
      throw SwiftletError(
        .unsupported, "a GGUF file of adapters alone cannot hold \(what)",
        remedy: "Export the merged model: leave out --lora-only.")
    }
    try check(configuration.bias == .none, "trained biases (bias: \(configuration.bias.rawValue))")
    try check(configuration.modulesToSave.isEmpty, "modules_to_save")
    try check(head.down == nil || !spec.tiesHead, "an adapter of a head that is the embedding")
    try check(configuration.alpha != 0, "adapters whose lora_alpha is 0")
  }
}
