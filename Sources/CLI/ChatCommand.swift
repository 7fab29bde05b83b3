import ArgumentParser
import Foundation
import Swiftlet

struct ChatCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "chat", abstract: "Talks with a model. An empty line or Ctrl-D ends the conversation.")

  @OptionGroup var model: ModelArguments
  @OptionGroup var sampling: SamplingArguments
  @Option(help: "System message.") var system: String?
  var json: Bool { false }

  func execute() throws {
    let model = try self.model.open()
    let generator = try Generator(
      model.decoder, tokenizer: model.tokenizer, on: model.backend,
      compute: self.model.dtype.dtype(on: model.backend))
    var history = ChatHistory(system: system)
    while let line = ask(), !line.isEmpty {
      history.ask(line)
      let wanted = min(sampling.maxNewTokens.value, generator.contextLength / 4)
      guard let prompt = try history.prompt(model.text, upTo: generator.contextLength, leaving: wanted) else {
        continue
      }
      let generation = try generator.generate(prompt, sampling.options(for: model))
      var answer = ""
      while let token = try generation.next() {
        answer += token.text
        print(token.text, terminator: "")
        fflush(nil)
      }
      print()
      if generation.finishReason == .contextLength {
        note("(The model's context is full; the answer is cut.)")
      }
      history.answer(answer)
    }
  }

  private func ask() -> String? {
    if Terminal.output.isInteractive {
      print(Terminal.output.styled("> ", .bold), terminator: "")
      fflush(nil)
    }
    return readLine()
  }
}

/// A conversation that may grow longer than what the model sees of it.
private struct ChatHistory {
  private let system: [JSON]
  /// The user's and the model's, in turns.
  private var messages: [JSON] = []

  init(system: String?) {
    self.system = system.map { [["role": "system", "content": .string($0)]] } ?? []
  }

  mutating func ask(_ text: String) { messages.append(["role": "user", "content": .string(text)]) }

  mutating func answer(_ text: String) { messages.append(["role": "assistant", "content": .string(text)]) }

  /// The conversation as the model takes it. Its oldest turns are forgotten until `answer` more tokens fit beside it.
  ///
  /// - Returns: nil when the last message does not fit even alone. It is taken back, so that another may be tried.
  mutating func prompt(
    _ text: LanguageModelText, upTo limit: Int, leaving answer: Int
  ) throws(SwiftletError) -> [Int32]? {
    var kept = messages
    var tokens = try text.chatTokens(system + kept)
    while tokens.count + answer > limit, kept.count > 1 {
      kept.removeFirst(2)
      tokens = try text.chatTokens(system + kept)
    }
    guard tokens.count <= limit else {
      messages.removeLast()
      note(
        "(The message takes \(tokens.count) tokens, the model sees \(limit) at most: say it in fewer words.)")
      return nil
    }
    let forgotten = (messages.count - kept.count) / 2
    if forgotten > 0 {
      let turns = forgotten == 1 ? "turn is" : "\(forgotten) turns are"
      note("(The model sees \(limit) tokens at most: the oldest \(turns) forgotten.)")
    }
    messages = kept
    return tokens
  }
}
