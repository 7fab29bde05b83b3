import Basics
import Compute
import Generation
import Training

/// A PEFT adapter folder, and the name that requests ask for it by.
public struct AdapterSource: Sendable, Equatable {
  public let name: String
  public let folder: String

  public init(name: String, folder: String) {
    self.name = name
    self.folder = folder
  }
}

extension LanguageModel {
  /// A generator of this model's answers, with adapters that requests may ask for by name. An adapter that cannot be one of several
  /// is attached to the model instead, when it is the only one: it then takes part in every answer.
  ///
  /// - Throws: `.mismatch` when an adapter does not fit; `.unsupported`, `.outOfMemory`.
  public func generator(
    _ precision: TrainingConfiguration.Precision = .auto, adapters: [AdapterSource] = [],
    settings: GeneratorSettings = GeneratorSettings()
  ) throws -> Generator {
    try precision.check(on: backend)
    let generator = try makeGenerator(precision, settings)
    for adapter in adapters {
      do throws(SwiftletError) { try generator.loadAdapter(adapter.folder, name: adapter.name) } catch {
        guard error.code == .unsupported, adapters.count == 1 else { throw error }
        try loadAdapter(adapter.folder)
        return try makeGenerator(precision, settings)
      }
    }
    return generator
  }

  private func makeGenerator(
    _ precision: TrainingConfiguration.Precision, _ settings: GeneratorSettings
  ) throws -> Generator {
    // A head that training left in the host's memory would be copied for every token.
    if (try? decoder.placeHead(onDevice: true)) == nil { try decoder.placeHead(onDevice: false) }
    return try Generator(
      decoder, tokenizer: tokenizer, on: backend, compute: precision.dtype(on: backend), settings: settings)
  }

  /// Opens a model on a thread of its own, for callers on any.
  ///
  /// - Parameter name: as the initialiser takes it.
  ///   - opened: told of the text side of the model, before the engine is there.
  public static func engine(
    _ name: String, weights: BaseWeights = .file, device: DeviceChoice = .auto,
    precision: TrainingConfiguration.Precision = .auto, adapters: [AdapterSource] = [],
    settings: GeneratorSettings = GeneratorSettings()
  ) throws -> Engine {
    try Engine {
      let model = try LanguageModel(name, weights: weights, backend: device.open())
      return try model.generator(precision, adapters: adapters, settings: settings)
    }
  }
}
