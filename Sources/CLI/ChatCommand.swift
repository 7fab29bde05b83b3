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
    var messages: [JSON] = system.map { [["role": "system", "content": .string($0)]] } ?? []
    while let line = ask(), !line.isEmpty {
      messages.append(["role": "user", "content": .string(line)])
      var generation = try generator.generate(model.text.chatTokens(messages), sampling.options(for: model))
      var answer = ""
      while let token = try generation.next() {
        answer += token.text
        print(token.text, terminator: "")
        fflush(nil)
      }
      print()
      messages.append(["role": "assistant", "content": .string(answer)])
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
