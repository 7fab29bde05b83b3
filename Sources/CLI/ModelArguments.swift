import ArgumentParser
import Swiftlet

/// Which model a command is about.
struct ModelName: ParsableArguments {
  @Option(name: .customLong("model"), help: "GGUF file, model folder, or name of a model in the cache.")
  var name: String
}

/// Where and how a command computes.
struct PlaceArguments: ParsableArguments {
  @Option(help: "Type of the products.") var dtype = TrainingConfiguration.Precision.auto
  @Option(help: "Where to compute: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
}

/// The model that a command runs, and how.
struct ModelArguments: ParsableArguments {
  @OptionGroup var model: ModelName
  @Option(help: "PEFT adapter folder.") var adapter: String?
  @OptionGroup var place: PlaceArguments

  func open() throws -> LanguageModel {
    let opened = try LanguageModel(model.name, backend: place.device.open())
    if let adapter { try opened.loadAdapter(adapter) }
    return opened
  }
}

extension TrainingConfiguration.Precision: ExpressibleByArgument {}

extension DeviceChoice: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
  public var defaultValueDescription: String { text }
}

/// A number of things, at least one.
struct Count: ExpressibleByArgument, ExpressibleByIntegerLiteral {
  let value: Int

  init?(argument: String) {
    guard let value = Int(argument), value > 0 else { return nil }
    self.value = value
  }

  init(integerLiteral value: Int) { self.value = value }

  var defaultValueDescription: String { "\(value)" }
}

/// How tokens are chosen.
struct SamplingArguments: ParsableArguments {
  @Option(help: "0 takes the most probable token always.") var temperature = 0.0
  @Option(help: "Only so many of the most probable tokens; 0: all.") var topK = 0
  @Option(help: "Only the tokens that together reach this probability; 1: all.") var topP = 1.0
  @Option(help: "Only tokens of at least this part of the best one's probability.") var minP = 0.0
  @Option(help: "Above 1, tokens that occurred become less probable.") var repetitionPenalty = 1.0
  @Option(help: "The same seed gives the same text.") var seed: UInt64 = 0
  @Option(help: "Tokens at most.") var maxNewTokens: Count = 256

  func options(for model: LanguageModel) -> GenerationOptions {
    GenerationOptions(
      sampling: SamplingOptions(
        temperature: temperature, topK: topK, topP: topP, minP: minP, repetitionPenalty: repetitionPenalty,
        seed: seed), maxNewTokens: maxNewTokens.value, stopTokens: model.stopTokens)
  }
}
