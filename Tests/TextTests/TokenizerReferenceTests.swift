import Basics
import Foundation
import Testing

@testable import Text

/// A family of tokenizers that share a vocabulary, with what Hugging Face `tokenizers` makes of some texts
/// (Fixtures/tokenizer_make.py).
struct TokenizerFamily {
  let tokenizer: JSON
  let texts: [String]
  let variants: JSON.Object

  init(_ name: String) throws {
    let fixture = try TokenizerFixture.json(name)
    tokenizer = try #require(fixture["tokenizer"])
    texts = try #require(fixture["texts"]?.array).compactMap(\.string)
    variants = try #require(fixture["variants"]?.object)
  }

  /// tokenizer.json with the changes of a variant.
  func json(_ variant: String) throws -> JSON {
    var json = try #require(tokenizer.object)
    for (key, change) in try #require(variants[variant]?["changes"]?.object) {
      if key == "model", var model = json["model"]?.object, let changes = change.object {
        model.merge(changes)
        json["model"] = .object(model)
      } else {
        json[key] = change
      }
    }
    return .object(json)
  }
}

enum TokenizerFixture {
  static func json(_ name: String) throws -> JSON {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Fixtures/tokenizer_\(name).json")
    return try JSON(parsing: Array(Data(contentsOf: file)))
  }

  static func ids(_ json: JSON?) throws -> [Int32] {
    try #require(json?.array).map { Int32(try #require($0.int)) }
  }
}

@Suite struct TokenizerReferenceTests {
  static let families = ["byte_level", "sentencepiece"]

  @Test(arguments: families)
  func encodesAndDecodesAsTheReference(name: String) throws {
    let family = try TokenizerFamily(name)
    for (variant, expected) in family.variants {
      let tokenizer = try Tokenizer(tokenizerJSON: family.json(variant))
      let ids = try #require(expected["ids"]?.array)
      #expect(ids.count == family.texts.count)
      for (place, text) in family.texts.enumerated() {
        let encoded = tokenizer.encode(text)
        let reference = try TokenizerFixture.ids(ids[place])
        #expect(encoded == reference, "\(variant): \(text.debugDescription)")
        let decoded = expected["decoded"]?[String(place)]?.string ?? text
        #expect(same(tokenizer.decode(reference), decoded), "\(variant): \(text.debugDescription)")
      }
      let framed = tokenizer.encode(family.texts[0], addSpecialTokens: true)
      #expect(try framed == TokenizerFixture.ids(expected["framed"]), "\(variant)")
    }
  }

  /// Random ids: characters break anywhere.
  @Test(arguments: families)
  func decodesAnyIdsAsTheReference(name: String) throws {
    let family = try TokenizerFamily(name)
    for (variant, expected) in family.variants {
      let tokenizer = try Tokenizer(tokenizerJSON: family.json(variant))
      for list in try #require(expected["lists"]?.array) {
        let ids = try TokenizerFixture.ids(list["ids"])
        let text = try #require(list["text"]?.string)
        #expect(same(tokenizer.decode(ids), text), "\(variant): \(ids)")
        let plain = try #require(list["plain"]?.string)
        #expect(same(tokenizer.decode(ids, skipSpecialTokens: true), plain), "\(variant): \(ids)")
        #expect(same(stream(tokenizer, ids), text), "\(variant): \(ids)")
      }
    }
  }

  @Test(arguments: families)
  func rangesCoverTheText(name: String) throws {
    let family = try TokenizerFamily(name)
    for variant in family.variants.keys {
      let tokenizer = try Tokenizer(tokenizerJSON: family.json(variant))
      for text in family.texts {
        let (ids, ranges) = tokenizer.encodeWithOffsets(text, addSpecialTokens: true)
        #expect(ids == tokenizer.encode(text, addSpecialTokens: true), "\(variant): \(text.debugDescription)")
        #expect(ranges.count == ids.count)
        #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.lowerBound <= $1.lowerBound })
        #expect(ranges.allSatisfy { $0.upperBound <= text.utf8.count })
      }
    }
  }

  /// The named pre-tokenizers of GGUF files, on the same vocabulary.
  @Test func namedPreTokenizersMatchTheReference() throws {
    let family = try TokenizerFamily("byte_level")
    let vocab = try #require(family.tokenizer["model"]?["vocab"]?.object)
    var tokens = vocab.sorted { ($0.value.int ?? 0) < ($1.value.int ?? 0) }.map(\.key)
    // Added tokens with their settings have no place in a GGUF file.
    tokens += try #require(family.tokenizer["added_tokens"]?.array?.prefix(3)).compactMap {
      $0["content"]?.string
    }
    let merges = try #require(family.tokenizer["model"]?["merges"]?.array)
      .map { try #require($0.array).compactMap(\.string).joined(separator: " ") }
    let types = tokens.indices.map { Int32($0 < vocab.count ? 1 : 3) }
    let untouched = ["<mask>", "<pad>", "wor", "<sep>", " =="]
    var compared = 0
    for (variant, expected) in family.variants where variant.hasPrefix("gguf ") {
      let tokenizer = try Tokenizer(
        gguf: GGUFVocabulary(
          model: "gpt2", pre: String(variant.dropFirst(5)), tokens: tokens, tokenTypes: types, merges: merges)
      )
      for (place, text) in family.texts.enumerated() {
        // By characters, as `contains` has it, a token that a combining mark follows would not be found.
        if untouched.contains(where: { text.range(of: $0, options: .literal) != nil }) { continue }
        let reference = try TokenizerFixture.ids(expected["ids"]?.array?[place])
        #expect(tokenizer.encode(text) == reference, "\(variant): \(text.debugDescription)")
        compared += 1
      }
    }
    #expect(compared > 500)
  }

  @Test func scoredVocabularyMatchesSentencePiece() throws {
    let fixture = try TokenizerFixture.json("scored")
    let tokens = try #require(fixture["tokens"]?.array).compactMap(\.string)
    let tokenizer = try Tokenizer(
      gguf: GGUFVocabulary(
        model: "llama", tokens: tokens,
        scores: try #require(fixture["scores"]?.array).compactMap { $0.double.map { Float($0) } },
        tokenTypes: try TokenizerFixture.ids(fixture["types"]), bosID: 1, eosID: 2, unkID: 0))
    for (place, text) in try #require(fixture["texts"]?.array).compactMap(\.string).enumerated() {
      let ids = try TokenizerFixture.ids(fixture["ids"]?.array?[place])
      #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)")
      let decoded = try #require(fixture["decoded"]?.array?[place].string)
      #expect(same(tokenizer.decode(ids), decoded), "\(text.debugDescription)")
    }
    for list in try #require(fixture["lists"]?.array) {
      let ids = try TokenizerFixture.ids(list["ids"])
      let text = try #require(list["text"]?.string)
      #expect(same(tokenizer.decode(ids), text), "\(ids)")
      #expect(same(stream(tokenizer, ids), text), "\(ids)")
    }
    #expect(tokenizer.addsBOS)
    #expect(tokenizer.encode("", addSpecialTokens: true) == [1])
  }

  /// Equal to the byte; Swift's `==` holds canonically equivalent strings equal.
  private func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

  private func stream(_ tokenizer: Tokenizer, _ ids: [Int32]) -> String {
    var decoder = StreamingDecoder(tokenizer)
    return ids.map { decoder.append($0) }.joined() + decoder.finish()
  }
}
