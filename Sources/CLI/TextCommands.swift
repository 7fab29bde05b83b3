import ArgumentParser
import Foundation
import Swiftlet

struct TokenizeCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize", abstract: "Turns the texts of a file into token ids.")

  @OptionGroup var model: ModelName
  @Option(
    help: "JSON Lines (or JSON, CSV) with the field \"text\"; of a .txt file each line is a text.",
    completion: .file())
  var file: String
  @Flag(help: "Add the tokens that the model expects around a text.") var addSpecialTokens = false
  @Flag(help: "Print JSON lines with text and ids; otherwise ids alone.") var json = false

  func execute() throws {
    let tokenizer = try LanguageModelText(model.name).tokenizer
    for text in try texts() {
      let ids = tokenizer.encode(text, addSpecialTokens: addSpecialTokens)
      if json {
        print(JSON.object(["text": .string(text), "ids": .array(ids.map { .int(Int($0)) })]).text(.spaced))
      } else {
        print(ids.map(String.init).joined(separator: " "))
      }
    }
  }

  private func texts() throws -> [String] {
    if file.lowercased().hasSuffix(".txt") { return try lines() }
    let data = try DataFile(path: file)
    return try (0..<data.count).map { index in
      guard let text = try data.row(index)["text"]?.string else {
        throw SwiftletError(.invalidData, "\(data.place(of: index)): there is no text in the field \"text\"")
      }
      return text
    }
  }

  /// Only "\n" ends a line: other separators are for the tokenizer to see.
  private func lines() throws -> [String] {
    guard let bytes = FileManager.default.contents(atPath: file) else { throw SwiftletError.unreadable(file) }
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return try lines.enumerated().map { index, line in
      guard let text = String(validating: line, as: UTF8.self) else {
        throw SwiftletError(.malformedFile, "\(file), line \(index + 1): is not UTF-8")
      }
      return text
    }
  }
}

struct RenderCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "render", abstract: "Puts conversations into the model's chat template.")

  @OptionGroup var model: ModelName
  @Option(
    help: "JSON: a list of objects with messages and, optionally, add_generation_prompt and tools.",
    completion: .file())
  var file: String
  @Flag(help: "Print the objects with the field \"text\" as JSON; otherwise the texts.") var json = false

  func execute() throws {
    let text = try LanguageModelText(model.name)
    guard let template = text.chatTemplate else {
      throw SwiftletError(.unsupported, "\(model.name) has no chat template")
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
