import Basics
import Foundation

extension ChatTemplate {
  /// The chat template of a model folder, or nil when it has none.
  ///
  /// Looks where transformers saves it: `chat_template.jinja` and `additional_chat_templates/<name>.jinja`,
  /// then `chat_template.json`, then `chat_template` in `tokenizer_config.json` (a text, or a list of
  /// `name` and `template`).
  ///
  /// - Parameter named: which of several templates (`tool_use`, `rag`...); nil is the default one.
  /// - Throws: `SwiftletError` with code `.unreadable` or `.malformedFile` for a file, `.template` or
  ///   `.unsupported` for the template, `.invalidConfiguration` when there are templates but none of the name.
  public static func load(folder: String, named: String? = nil) throws(SwiftletError) -> ChatTemplate? {
    let wanted = named ?? "default"
    let templates = try all(in: folder)
    if templates.isEmpty { return nil }
    if let found = templates.first(where: { $0.name == wanted }) {
      return try ChatTemplate(source: found.source, name: found.place)
    }
    let names = templates.map(\.name).joined(separator: ", ")
    throw SwiftletError(
      .invalidConfiguration, "\(folder): no chat template named '\(wanted)'",
      remedy: "The folder has: \(names).")
  }

  /// The template that is the whole of a file.
  ///
  /// - Throws: `.unreadable` or `.malformedFile` for the file, `.template` or `.unsupported` for the template.
  public static func load(file path: String) throws(SwiftletError) -> ChatTemplate {
    try ChatTemplate(source: try text(of: path), name: path)
  }

  private struct Candidate {
    let name: String
    let source: String
    /// The file, and the name where the file holds several.
    let place: String
  }

  private static func all(in folder: String) throws(SwiftletError) -> [Candidate] {
    let files = try jinjaFiles(in: folder)
    if !files.isEmpty { return files }
    for name in ["chat_template.json", "tokenizer_config.json"] {
      let path = folder + "/" + name
      guard FileManager.default.fileExists(atPath: path) else { continue }
      let found = try candidates(in: path)
      if !found.isEmpty { return found }
    }
    return []
  }

  private static func jinjaFiles(in folder: String) throws(SwiftletError) -> [Candidate] {
    var found: [Candidate] = []
    let main = folder + "/chat_template.jinja"
    if FileManager.default.fileExists(atPath: main) {
      found.append(Candidate(name: "default", source: try text(of: main), place: main))
    }
    let more = folder + "/additional_chat_templates"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: more)) ?? []
    for file in names.sorted() where file.hasSuffix(".jinja") {
      let path = more + "/" + file
      found.append(Candidate(name: String(file.dropLast(6)), source: try text(of: path), place: path))
    }
    return found
  }

  private static func candidates(in path: String) throws(SwiftletError) -> [Candidate] {
    let json: JSON
    do {
      json = try JSON(parsing: try text(of: path))
    } catch {
      throw SwiftletError(error.code, "\(path): \(error.message)", remedy: error.remedy)
    }
    switch json["chat_template"] {
    case nil, .null: return []
    case .string(let source): return [Candidate(name: "default", source: source, place: path)]
    case .array(let list):
      var found: [Candidate] = []
      for entry in list {
        guard let name = entry["name"]?.string, let source = entry["template"]?.string else {
          throw SwiftletError(
            .malformedFile, "\(path): each entry of 'chat_template' must have a name and a template")
        }
        found.append(Candidate(name: name, source: source, place: "\(path) (\(name))"))
      }
      return found
    default:
      throw SwiftletError(.malformedFile, "\(path): 'chat_template' must be a text or a list")
    }
  }

  private static func text(of path: String) throws(SwiftletError) -> String {
    guard let data = FileManager.default.contents(atPath: path) else { throw SwiftletError.unreadable(path) }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw SwiftletError(.malformedFile, "\(path): is not UTF-8")
    }
    return text
  }
}

extension Tokenizer {
  /// What transformers shows chat templates of a tokenizer: the texts of its tokens with a role.
  public var templateVariables: JSON.Object {
    let roles = [
      ("bos_token", bosToken), ("eos_token", eosToken), ("pad_token", padToken), ("unk_token", unkToken),
    ]
    var variables: JSON.Object = [:]
    for case (let name, let token?) in roles { variables[name] = .string(token.text) }
    return variables
  }
}
