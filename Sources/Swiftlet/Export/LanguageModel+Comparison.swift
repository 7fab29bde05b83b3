import Basics
import Compute
import Models
import Text

/// Reading back what was written, before it counts.
extension LanguageModel {
  private static let prompts = [
    "The capital of France is",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "In 1969, 3 people flew to the Moon; it wasn't the last flight. 今日は良い天気です。",
  ]

  /// At most so many tokens of a prompt.
  private static let longest = 48

  /// Compares the model at `path` with this one.
  ///
  /// - Throws: `.mismatch` when its tokens differ, or its logits by more than `format` explains.
  func compare(with path: String, _ format: ExportFormat) throws -> LogitComparison {
    let file = try ModelFile(path: path)
    let text = try LanguageModelText(file)
    var samples: [[Int32]] = []
    for prompt in Self.prompts {
      let tokens = tokenizer.encode(prompt, addSpecialTokens: true)
      guard text.tokenizer.encode(prompt, addSpecialTokens: true) == tokens else {
        throw SwiftletError(
          .mismatch, "the tokenizer that was written makes other tokens of '\(prompt)' than the model's own")
      }
      let sample = Array(tokens.prefix(min(Self.longest, contextLength)))
      if !sample.isEmpty { samples.append(sample) }
    }
    // One model after the other, so that only one is in memory.
    let expected = try samples.map { try decoder.logits(of: $0) }
    decoder.forgetFiles()
    let written = try Decoder(file, on: backend)
    var comparison = LogitComparison()
    for (sample, expected) in zip(samples, expected) {
      comparison.add(
        try written.logits(of: sample), expected: expected, vocabulary: decoder.spec.vocabularySize)
    }
    let limit = format.tolerance
    guard comparison.medianDifference <= limit else {
      throw SwiftletError(
        .mismatch,
        "the logits of what was written differ from the model's by \(comparison.medianDifference), relative, at half "
          + "of the positions or more; rounding explains \(limit)",
        remedy: "Nothing was put in place. Please report this, with the model's name.")
    }
    return comparison
  }
}

extension ExportFormat {
  /// How far rounding the weights can move the logits of most positions, relative: some times what it moves those of
  /// SmolLM2-135M, which has 0.004 in bfloat16, 0.03 in Q8_0 and 0.3 in Q4_0. Weights in a wrong place or order move
  /// them by about 1.
  fileprivate var tolerance: Double {
    switch self {
    case .safetensors(.float32), .gguf(.f32): 1e-4
    case .safetensors(.float16), .gguf(.f16): 0.005
    case .safetensors(.bfloat16), .gguf(.bf16): 0.03
    case .gguf(.q8_0): 0.1
    case .gguf(.q6_K): 0.2
    case .gguf(.q5_0), .gguf(.q5_1), .gguf(.q5_K_M): 0.5
    case .bitsAndBytes, .gguf(.q4_0), .gguf(.q4_1), .gguf(.q4_K_M): 0.8
    }
  }
}
