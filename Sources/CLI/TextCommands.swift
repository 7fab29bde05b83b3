import ArgumentParser
import Foundation
import Swiftlet

struct TokenizeCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize", abstract: "Turns the texts of a file into token ids.")

  @Option(help: "GGUF file, model folder, or name of a model in the cache.") var model: String
  @Option(help: "JSON Lines with the field \"text\".", completion: .file()) var file: String
  @Flag(help: "Add the tokens that the model expects around a text.") var addSpecialTokens = false
  @Flag(help: "Print JSON lines with text and ids; otherwise ids alone.") var json = false

  func execute() throws {
    let tokenizer = try LanguageModelText(model).tokenizer
    let data = try DataFile(path: file)
    for index in 0..<data.count {
      let row = try data.row(index)
      guard let text = row["text"]?.string else {
        throw SwiftletError(.invalidData, "\(data.place(of: index)): there is no text in the field \"text\"")
      }
      let ids = tokenizer.encode(text, addSpecialTokens: addSpecialTokens)
      if json {
        print(JSON.object(["text": .string(text), "ids": .array(ids.map { .int(Int($0)) })]).text(.spaced))
      } else {
        print(ids.map(String.init).joined(separator: " "))
      }
    }
  }
}

struct RenderCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "render", abstract: "Puts conversations into the model's chat template.")

  @Option(help: "GGUF file, model folder, or name of a model in the cache.") var model: String
  @Option(
    help: "JSON: a list of objects with messages and, optionally, add_generation_prompt and tools.",
    completion: .file())
  var file: String
  @Flag(help: "Print the objects with the field \"text\" as JSON; otherwise the texts.") var json = false

  func execute() throws {
    let text = try LanguageModelText(model)
    guard let template = text.chatTemplate else {
      throw SwiftletError(.unsupported, "\(model) has no chat template")
    }
    let data = try DataFile(path: file)
    var results: [JSON] = []
    for index in 0..<data.count {
      var row = try data.row(index)
      guard let messages = row["messages"] else {
        throw SwiftletError(.invalidData, "\(data.place(of: index)): there is no field \"messages\"")
      }
      let rendered = try template.render(
        messages: messages, addGenerationPrompt: row["add_generation_prompt"]?.bool ?? false,
        tools: row["tools"],
        variables: text.templateVariables)
      row["text"] = .string(rendered)
      results.append(.object(row))
      if !json { print(rendered) }
    }
    if json { print(JSON.array(results).text(.indented(1))) }
  }
}
