import Basics
import Foundation
import Testing

@testable import Generation

@Suite struct ConstraintTests {
  /// Texts drawn under the mask parse and are what the schema says; nothing is a dead end.
  @Test(arguments: ConstraintVocabulary.allCases)
  func textsDrawnAtRandomAreValid(of kind: ConstraintVocabulary) throws {
    let vocabulary = try kind.make()
    var noise = SplitMix(state: 11)
    for schema in ConstraintSchemas.all {
      let constraint = try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
      for _ in 0..<30 { try Self.checkDraw(constraint, schema, &noise) }
    }
  }

  static func checkDraw(
    _ constraint: OutputConstraint, _ schema: JSON, _ noise: inout some RandomNumberGenerator
  ) throws {
    let bytes = try #require(constraint.draw(&noise), "nothing was allowed before the end: \(schema.text())")
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(Array(text.utf8) == bytes, "not UTF-8: \(text.debugDescription)")
    do {
      let value = try JSON(parsing: bytes)
      let isValid = SchemaValidator(root: schema).accepts(value)
      #expect(isValid, "\(text.debugDescription) is not \(schema.text())")
    } catch let error as SwiftletError {
      // What the automaton cannot see (OutputConstraint).
      #expect(error.message.contains("stands twice"), "\(error) in \(text.debugDescription)")
    }
  }

  /// Masks are what trying every token by itself finds.
  @Test func masksAreThoseOfEveryTokenTried() throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    var noise = SplitMix(state: 5)
    for schema in ConstraintSchemas.all {
      let constraint = try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
      for _ in 0..<4 {
        var state = constraint.start()
        for _ in 0..<60 {
          let allowed = state.allowedTokens
          let tried = (0..<Int32(vocabulary.size)).filter { token in
            let bytes = vocabulary.tokens[Int(token)]
            return !bytes.isEmpty && bytes.allSatisfy(constraint.follower(of: state))
          }
          #expect(allowed == tried, "\(schema.text())")
          guard let token = allowed.randomElement(using: &noise), allowed == tried else { break }
          state.advance(token)
        }
      }
    }
  }

  @Test func specialTokensAndRowsWithoutTokensAreNeverAllowed() throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    let constraint = try OutputConstraint(jsonSchema: true, vocabulary: vocabulary)
    var state = constraint.start()
    state.advance(Int32(UInt8(ascii: "\"")))
    let special = Int32(ConstraintVocabulary.crossingTokens.count)
    #expect(state.allowedTokens.allSatisfy { $0 < special })
    #expect(state.allowed().count == (vocabulary.size + 31) / 32)
  }

  @Test func endsExactlyWhereTheValueMay() throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    let object = try OutputConstraint.anyObject(vocabulary: vocabulary)
    var state = object.start()
    for byte in "{\"a\": [1, {}]}".utf8 {
      #expect(!state.isComplete)
      state.advance(Int32(byte))
    }
    #expect(state.isComplete && state.allowedTokens.isEmpty)
    // A number may go on.
    var number = try OutputConstraint(jsonSchema: ["type": "number"], vocabulary: vocabulary).start()
    number.advance(Int32(UInt8(ascii: "1")))
    #expect(number.isComplete && number.allows(Int32(UInt8(ascii: "."))))
    number.advance(Int32(UInt8(ascii: ".")))
    #expect(!number.isComplete)
  }

  @Test func deepTextsDoNotExhaustTheStack() throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    var state = try OutputConstraint(jsonSchema: ["type": "array"], vocabulary: vocabulary).start()
    for _ in 0..<100_000 { state.advance(Int32(UInt8(ascii: "["))) }
    for _ in 0..<100_000 { state.advance(Int32(UInt8(ascii: "]"))) }
    #expect(state.isComplete)
  }

  @Test func requestsShareAConstraint() async throws {
    let vocabulary = try ConstraintVocabulary.byteLevel.make()
    let constraint = try OutputConstraint(jsonSchema: ConstraintSchemas.nested, vocabulary: vocabulary)
    let alone = try OutputConstraint(jsonSchema: ConstraintSchemas.nested, vocabulary: vocabulary)
    await withTaskGroup(of: [UInt8]?.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var noise = SplitMix(state: 3)
          return constraint.draw(&noise)
        }
      }
      var noise = SplitMix(state: 3)
      let expected = alone.draw(&noise)
      for await text in group { #expect(text == expected) }
    }
  }
}

extension OutputConstraint {
  /// Takes bytes one by one by the machine alone, without masks or what is known of them.
  fileprivate func follower(of state: State) -> (UInt8) -> Bool {
    var (frames, stacks) = (state.frames, state.stacks)
    return { byte in
      var reached: [PushdownMachine.Frame] = []
      for frame in frames { self.machine.step(frame, byte, &stacks, into: &reached) }
      frames = reached
      return !reached.isEmpty
    }
  }
}

/// Steele et al., SplitMix64.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
