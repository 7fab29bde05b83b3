import ArgumentParser
import Foundation
import Swiftlet

struct GenerateCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate", abstract: "Continues a prompt, or answers it as a chat message.")

  @OptionGroup var model: ModelName
  @Option(help: "PEFT adapter folder.") var adapter: AdapterSource?
  @OptionGroup var place: PlaceArguments
  @OptionGroup var sampling: SamplingArguments
  @Option(help: "The text to continue.") var prompt: String
  @Flag(help: "Put the prompt into the model's chat template, as a user's message.") var chat = false
  @Option(help: "System message, with --chat.") var system: String?
  @Flag(help: "Print one JSON object at the end instead of text as it comes.") var json = false

  func validate() throws {
    if system != nil, !chat { throw ValidationError("--system goes with --chat.") }
  }

  func execute() throws {
    let model = try LanguageModel(self.model.name, backend: place.device.open())
    let generator = try model.generator(place.dtype, adapters: adapter.map { [$0] } ?? [])
    let tokens = try promptTokens(model)
    let generation = try generator.generate(
      GenerationRequest(tokens, sampling.options(for: model), adapter: generator.adapterNames.first))
    var text = ""
    var ids: [JSON] = []
    while let token = try generation.next() {
      text += token.text
      ids.append(.int(Int(token.id)))
      if !json {
        print(token.text, terminator: "")
        fflush(nil)
      }
    }
    guard json else {
      print()
      // Rows of a padded embedding, special tokens.
      if text.isEmpty { note("The answer has no text: \(counted(ids.count, "token")) without any.") }
      return
    }
    let statistics = generation.statistics
    print(
      JSON.object([
        "prompt": .string(prompt), "ids": .array(tokens.map { .int(Int($0)) }), "new_ids": .array(ids),
        "text": .string(text), "prefill_seconds": .double(statistics.prefillSeconds),
        "decode_tokens_per_second": statistics.decodeTokensPerSecond.map { .double($0) } ?? nil,
      ]).text())
  }

  private func promptTokens(_ model: LanguageModel) throws -> [Int32] {
    guard chat else { return model.tokenizer.encode(prompt, addSpecialTokens: true) }
    var messages: [JSON] = system.map { [["role": "system", "content": .string($0)]] } ?? []
    messages.append(["role": "user", "content": .string(prompt)])
    return try model.text.chatTokens(messages)
  }
}
