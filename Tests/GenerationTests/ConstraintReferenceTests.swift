import Models
import Testing
import Text

@testable import Generation

/// Constraints on a real vocabulary of 49,152 tokens.
@Suite(
  .enabled(
    if: ReferenceModel.isThere,
    "needs SmolLM2-135M-Instruct.Q4_1.gguf in \(ReferenceModel.folder)"))
struct ConstraintReferenceTests {
  @Test func textsOfARealVocabularyAreValid() throws {
    let file = try GGUFFile(path: ReferenceModel.path)
    let tokenizer = try Tokenizer(gguf: GGUFVocabulary(GGUFTokenizerMetadata(file)))
    let vocabulary = TokenVocabulary(tokenizer, size: tokenizer.vocabularySize)
    var noise = SplitMix(state: 17)
    for schema in ConstraintSchemas.all {
      let constraint = try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
      for _ in 0..<5 { try ConstraintTests.checkDraw(constraint, schema, &noise) }
      // What a model would write: indented, in the tokenizer's own tokens.
      guard schema == ConstraintSchemas.person else { continue }
      var state = constraint.start()
      for token in tokenizer.encode("{\n  \"name\": \"Zoë\",\n  \"age\": 36,\n  \"tags\": [\"a\", \"b\"]\n}")
      {
        #expect(state.allows(token))
        state.advance(token)
      }
      #expect(state.isComplete)
    }
  }
}
