import Basics
import Foundation
import Testing
import TestSupport
import Text

@testable import Generation

/// Vocabularies to try constraints with.
enum ConstraintVocabulary: String, CaseIterable, Sendable {
  /// A token for each byte, and tokens that cross what a grammar takes apart.
  case crossing
  /// The tokenizer tests' fixtures.
  case byteLevel = "byte_level"
  case sentencePiece = "sentencepiece"

  func make() throws -> TokenVocabulary {
    switch self {
    case .crossing:
      return TokenVocabulary(try Tokenizer(bytes: Self.crossingTokens), size: Self.crossingTokens.count + 40)
    case .byteLevel, .sentencePiece:
      let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "TextTests/Fixtures/tokenizer_\(rawValue).json")
      let fixture = try JSON(parsing: Array(Data(contentsOf: file)))
      var json = try #require(fixture["tokenizer"]?.object)
      // Vocabulary and merges are shared by all variants.
      let variant = self == .byteLevel ? "qwen2" : "llama2"
      for (key, change) in try #require(fixture["variants"]?[variant]?["changes"]?.object) {
        if key == "model", var model = json["model"]?.object, let changes = change.object {
          model.merge(changes)
          json["model"] = .object(model)
        } else {
          json[key] = change
        }
      }
      let tokenizer = try Tokenizer(tokenizerJSON: .object(json))
      return TokenVocabulary(tokenizer, size: tokenizer.vocabularySize)
    }
  }

  static let crossingTokens: [[UInt8]] =
    (UInt8.min...UInt8.max).map { [$0] }
    + [
      "{\"", "\":", "\": \"", "\",\"", "\", \"", "\"}", "\"]", "}}", "]}", "[[", "[]", "{}", "},{", "\n  ",
      ",\n    \"",
      " true", "false", "null", "12", "00", "-1", "1.5", ".0", "e+", "a\\", "\\n", "\\u00", "u00e9", "\\\"",
      "d83d\\ude",
      "name", "\"name\"", "name\":", "abc", "é", "日本", "日\"", "  ", " \"", "1,", "1}", "1]", "-0", "[1,2",
      "true}",
      "2024-", "-02-", "@a.", "\"a\":{\"a\":", "]]]]", "\"}]}",
    ].map { Array($0.utf8) } + [
      [0xE6, 0x97], [0xA5, 0x22], [0xF0, 0x9F], [0x9F, 0xA6, 0xA5], [0x22, 0xE6],
    ]
}

extension OutputConstraint {
  /// Whether the text is one that the constraint allows, byte by byte. The vocabulary has the bytes as tokens 0 to 255.
  func accepts(_ text: String) -> Bool {
    var state = start()
    for byte in text.utf8 {
      guard state.allows(Int32(byte)) else { return false }
      state.advance(Int32(byte))
    }
    return state.isComplete
  }

  /// A text drawn at random from those allowed, or nil when nothing was allowed before its end.
  func draw(_ noise: inout some RandomNumberGenerator) -> [UInt8]? {
    var state = start()
    var text: [UInt8] = []
    for count in 0..<3_000 {
      let isLong = count > Int.random(in: 10...120, using: &noise)
      if state.isComplete, isLong || Int.random(in: 0..<4, using: &noise) == 0 { return text }
      let allowed = state.allowedTokens
      if allowed.isEmpty { return state.isComplete ? text : nil }
      // Texts end sooner with the tokens that close something.
      let closing = allowed.filter { Self.closing.contains(vocabulary.tokens[Int($0)]) }
      let choices = isLong && !closing.isEmpty ? closing : allowed
      let token = choices[Int.random(in: 0..<choices.count, using: &noise)]
      state.advance(token)
      text += vocabulary.tokens[Int(token)]
    }
    Issue.record("the text does not end: \(String(decoding: text, as: UTF8.self).suffix(200))")
    return nil
  }

  private static let closing: Set<[UInt8]> = Set(["\"", "}", "]", "\"}", "\"]"].map { Array($0.utf8) })
}

extension OutputConstraint.State {
  var allowedTokens: [Int32] {
    allowed().enumerated().flatMap { word, bits in
      (0..<32).lazy.filter { bits >> UInt32($0) & 1 == 1 }.map { Int32(32 * word + $0) }
    }
  }

  func allows(_ token: Int32) -> Bool { allowed()[Int(token >> 5)] >> UInt32(token & 31) & 1 == 1 }
}

/// Checks values against schemas the plain way: what constraints are measured by.
struct SchemaValidator {
  let root: JSON

  func accepts(_ value: JSON, _ schema: JSON? = nil) -> Bool {
    guard let keywords = (schema ?? root).object else { return (schema ?? root) == true }
    return keywords.allSatisfy { keyword, argument in holds(keyword, argument, keywords, value) }
  }

  private func holds(_ keyword: String, _ argument: JSON, _ schema: JSON.Object, _ value: JSON) -> Bool {
    switch keyword {
    case "$ref": return accepts(value, resolve(argument.string ?? ""))
    case "allOf": return argument.array?.allSatisfy { accepts(value, $0) } ?? false
    case "anyOf", "oneOf": return argument.array?.contains { accepts(value, $0) } ?? false
    case "type": return (argument.array ?? [argument]).contains { isOf($0.string ?? "", value) }
    case "enum": return argument.array?.contains(value) ?? false
    case "const": return value == argument
    default: break
    }
    switch value {
    case .string(let text): return holds(keyword, argument, text)
    case .int, .double: return holds(keyword, argument, value.double ?? .nan)
    case .array(let elements): return holds(keyword, argument, schema, elements)
    case .object(let members): return holds(keyword, argument, schema, members)
    case .null, .bool: return true
    }
  }

  private func holds(_ keyword: String, _ argument: JSON, _ text: String) -> Bool {
    switch keyword {
    case "minLength": text.unicodeScalars.count >= argument.int ?? 0
    case "maxLength": text.unicodeScalars.count <= argument.int ?? 0
    case "pattern": text.range(of: argument.string ?? "", options: .regularExpression) != nil
    default: true
    }
  }

  private func holds(_ keyword: String, _ argument: JSON, _ number: Double) -> Bool {
    let bound = argument.double ?? .nan
    switch keyword {
    case "minimum": return number >= bound
    case "maximum": return number <= bound
    case "exclusiveMinimum": return number > bound
    case "exclusiveMaximum": return number < bound
    case "multipleOf":
      let ratio = number / bound
      return abs(ratio - ratio.rounded()) <= abs(ratio) * 1e-15
    default: return true
    }
  }

  private func holds(_ keyword: String, _ argument: JSON, _ schema: JSON.Object, _ elements: [JSON]) -> Bool {
    let prefix = schema["prefixItems"]?.array ?? []
    switch keyword {
    case "minItems": return elements.count >= argument.int ?? 0
    case "maxItems": return elements.count <= argument.int ?? 0
    case "prefixItems": return zip(elements, prefix).allSatisfy { accepts($0, $1) }
    case "items": return elements.dropFirst(prefix.count).allSatisfy { accepts($0, argument) }
    default: return true
    }
  }

  private func holds(_ keyword: String, _ argument: JSON, _ schema: JSON.Object, _ members: JSON.Object)
    -> Bool
  {
    switch keyword {
    case "required": return argument.array?.allSatisfy { members[$0.string ?? ""] != nil } ?? false
    case "properties":
      return argument.object?.allSatisfy { name, part in members[name].map { accepts($0, part) } ?? true }
        ?? false
    case "additionalProperties":
      return members.allSatisfy { name, value in
        schema["properties"]?[name] != nil || accepts(value, argument)
      }
    default: return true
    }
  }

  private func isOf(_ kind: String, _ value: JSON) -> Bool {
    switch (kind, value) {
    case ("object", .object), ("array", .array), ("string", .string), ("boolean", .bool), ("null", .null),
      ("number", .int), ("number", .double):
      true
    case ("integer", _): value.int != nil || (value.double.map { $0 == $0.rounded() } ?? false)
    default: false
    }
  }

  private func resolve(_ reference: String) -> JSON {
    reference.split(separator: "/").dropFirst().reduce(root) { $0[String($1)] ?? false }
  }
}
