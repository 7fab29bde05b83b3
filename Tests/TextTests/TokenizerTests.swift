import Basics
import Foundation
import Testing

@testable import Text

@Suite struct TokenizerTests {
  let byteLevel: TokenizerFamily
  let sentencePiece: TokenizerFamily

  init() throws {
    byteLevel = try TokenizerFamily("byte_level")
    sentencePiece = try TokenizerFamily("sentencepiece")
  }

  // MARK: - Streaming

  @Test(arguments: ["gpt2", "llama2"])
  func streamingNeverSplitsACharacter(variant: String) throws {
    let family = variant == "gpt2" ? byteLevel : sentencePiece
    let tokenizer = try Tokenizer(tokenizerJSON: family.json(variant))
    let text = "x 🦥 né 日本 👩‍👩‍👧 end"
    var decoder = StreamingDecoder(tokenizer)
    var pieces: [String] = []
    for id in tokenizer.encode(text) { pieces.append(decoder.append(id)) }
    #expect(!pieces.joined().contains("\u{FFFD}"))
    #expect(decoder.finish().isEmpty)
    #expect(pieces.joined() == text)
    // The sloth takes several tokens; nothing comes out before the last of them.
    #expect(pieces.contains(""))
  }

  @Test func anUnfinishedCharacterIsReplacedAtTheEnd() throws {
    let tokenizer = try Tokenizer(tokenizerJSON: byteLevel.json("gpt2"))
    var decoder = StreamingDecoder(tokenizer)
    let sloth = tokenizer.encode("🦥")
    #expect(sloth.dropLast().map { decoder.append($0) }.joined() == "")
    #expect(decoder.finish() == "\u{FFFD}")
  }

  // MARK: - Offsets

  @Test func rangesOfAByteLevelTokenizerHoldItsBytes() throws {
    let tokenizer = try Tokenizer(tokenizerJSON: byteLevel.json("llama3"))
    for text in byteLevel.texts where !text.contains("<") {
      let (ids, ranges) = tokenizer.encodeWithOffsets(text)
      let bytes = Array(text.utf8)
      for (id, range) in zip(ids, ranges) { #expect(tokenizer.bytes(of: id) == Array(bytes[range])) }
      #expect(ranges.reduce(0) { $0 + $1.count } == bytes.count, "\(text.debugDescription)")
    }
  }

  @Test func rangesFollowTheTextThroughNormalisation() throws {
    // "é" composes: its token, or tokens, have the range of both scalars.
    let composed = try Tokenizer(tokenizerJSON: byteLevel.json("qwen2")).encodeWithOffsets("ae\u{301}b")
    #expect(composed.ranges.first == 0..<1)
    #expect(composed.ranges.last == 4..<5)
    #expect(composed.ranges.dropFirst().dropLast().allSatisfy { $0 == 1..<4 })
    // The prefixed space has no place in the text; the template's token is empty at the start.
    let prefixed = try Tokenizer(tokenizerJSON: sentencePiece.json("llama2"))
      .encodeWithOffsets("zq zq", addSpecialTokens: true)
    #expect(prefixed.ranges.first == 0..<0)
    #expect(prefixed.ranges.last?.upperBound == 5)
    #expect(prefixed.ranges.map { $0.count }.reduce(0, +) == 5)
  }

  // MARK: - Vocabulary and roles

  @Test func tokensAndIDsAgree() throws {
    let tokenizer = try Tokenizer(tokenizerJSON: byteLevel.json("gpt2"))
    let id = try #require(tokenizer.id(of: "Ġthe"))
    #expect(tokenizer.token(of: id) == "Ġthe")
    #expect(tokenizer.bytes(of: id) == Array(" the".utf8))
    let end = try #require(tokenizer.id(of: "<|im_end|>"))
    #expect(tokenizer.isSpecial(end) && !tokenizer.isSpecial(id))
    #expect(tokenizer.decode([id, end], skipSpecialTokens: true) == " the")
    #expect(tokenizer.id(of: "no such token") == nil)
    #expect(tokenizer.token(of: -1) == nil && tokenizer.token(of: 1_000_000) == nil)
    #expect(tokenizer.bytes(of: 1_000_000).isEmpty)
    #expect(tokenizer.token(of: Int32(tokenizer.vocabularySize - 1)) != nil)
    #expect(tokenizer.token(of: Int32(tokenizer.vocabularySize)) == nil)
  }

  @Test func configurationNamesRolesAndOverrulesTheTemplate() throws {
    let json = try sentencePiece.json("llama2")
    let plain = try Tokenizer(tokenizerJSON: json)
    #expect(plain.bosToken == nil && plain.unkToken == Tokenizer.RoleToken(id: 0, text: "<unk>"))
    let map: JSON = ["eos_token": ["content": "</s>", "lstrip": false], "bos_token": "</s>"]
    let tokenizer = try Tokenizer(
      tokenizerJSON: json, configuration: ["bos_token": "<s>", "add_eos_token": true], specialTokensMap: map)
    #expect(tokenizer.bosToken == Tokenizer.RoleToken(id: 1, text: "<s>"))
    #expect(tokenizer.eosToken == Tokenizer.RoleToken(id: 2, text: "</s>"))
    #expect(tokenizer.addsBOS && tokenizer.addsEOS)
    let ids = tokenizer.encode("a", addSpecialTokens: true)
    #expect(ids == [1] + tokenizer.encode("a") + [2])
    let bare = try Tokenizer(
      tokenizerJSON: json, configuration: ["bos_token": "<s>", "add_bos_token": false])
    #expect(!bare.addsBOS && bare.encode("a", addSpecialTokens: true) == bare.encode("a"))
  }

  @Test func addedTokensOfTheConfigurationCount() throws {
    let entry: JSON = ["content": "<tool>", "special": true, "normalized": false]
    let tokenizer = try Tokenizer(
      tokenizerJSON: byteLevel.json("gpt2"), configuration: ["added_tokens_decoder": ["700": entry]])
    #expect(tokenizer.encode("a<tool>").last == 700)
    #expect(tokenizer.vocabularySize == 701)
  }

  @Test func mergesMayBeStrings() throws {
    let json = try byteLevel.json("gpt2")
    var object = try #require(json.object)
    var model = try #require(object["model"]?.object)
    model["merges"] = .array(
      try #require(model["merges"]?.array).map { merge in
        .string(try #require(merge.array).compactMap(\.string).joined(separator: " "))
      })
    object["model"] = .object(model)
    let tokenizer = try Tokenizer(tokenizerJSON: .object(object))
    let text = "The quick brown fox"
    #expect(try tokenizer.encode(text) == Tokenizer(tokenizerJSON: json).encode(text))
  }

  // MARK: - Long words, many threads

  /// Without a pre-tokenizer the text is one word: merging must not take quadratic time.
  @Test(.timeLimit(.minutes(1)), arguments: ["llama2", "llama2-unknown"])
  func longWordsTakeLinearTime(variant: String) throws {
    let tokenizer = try Tokenizer(tokenizerJSON: sentencePiece.json(variant))
    let text = String(repeating: "thequickbrownfox日本é", count: 10_000)
    #expect(tokenizer.decode(tokenizer.encode(text)).utf8.count > 0)
  }

  @Test func splittingBeforeSpaceMarksChangesNothing() throws {
    let json = try sentencePiece.json("llama2")
    var object = try #require(json.object)
    #expect(try Tokenizer(tokenizerJSON: json).core.model.safeBoundary != nil)
    // A token that spans two words switches the shortcut off; nothing merges into it.
    var model = try #require(object["model"]?.object)
    var vocab = try #require(model["vocab"]?.object)
    vocab["q▁q▁q"] = 900
    model["vocab"] = .object(vocab)
    object["model"] = .object(model)
    let slow = try Tokenizer(tokenizerJSON: .object(object))
    #expect(slow.core.model.safeBoundary == nil)
    let fast = try Tokenizer(tokenizerJSON: json)
    for text in sentencePiece.texts { #expect(slow.encode(text) == fast.encode(text)) }
  }

  /// More words than the cache has slots; with offsets nothing is cached.
  @Test func theWordCacheChangesNothing() throws {
    let tokenizer = try Tokenizer(tokenizerJSON: byteLevel.json("gpt2"))
    let text = (0..<40_000).map { " w\(String($0 * 7919 % 65_536, radix: 36))" }.joined()
    for _ in 0..<2 { #expect(tokenizer.encode(text) == tokenizer.encodeWithOffsets(text).ids) }
  }

  @Test func equalScoresMergeFromTheLeft() throws {
    let tokenizer = try Tokenizer(
      gguf: GGUFVocabulary(
        model: "llama", tokens: ["a", "b", "c", "bc", "ab"], scores: [0, 0, 0, -1, -1], addSpacePrefix: false)
    )
    #expect(tokenizer.encode("abc") == [4, 2])
  }

  @Test func manyThreadsEncodeAtOnce() async throws {
    let tokenizer = try Tokenizer(tokenizerJSON: byteLevel.json("gpt2"))
    let texts = byteLevel.texts
    let expected = texts.map { tokenizer.encodeWithOffsets($0).ids }
    await withTaskGroup(of: [[Int32]].self) { group in
      for _ in 0..<8 { group.addTask { (0..<20).flatMap { _ in texts.map { tokenizer.encode($0) } } } }
      for await ids in group { #expect(ids == (0..<20).flatMap { _ in expected }) }
    }
  }
}
