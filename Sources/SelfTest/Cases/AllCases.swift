import Compute

extension OpCase {
  /// The table.
  public static var all: [OpCase] {
    linearCases + mergedLinearCases + float8Cases + normCases + rotaryCases + attentionCases + activationCases
      + elementwiseCases
      + vocabularyCases + optimizerCases + generationCases
  }

  /// The operations of a small model's training step at their real sizes (SmolLM2-135M, 1024 tokens), for
  /// `measure`.
  public static var realistic: [OpCase] {
    [
      linear(WeightKind(format: .bf16), rows: 1024, inputs: 576, outputs: 1536),
      linear(WeightKind(format: .q4_K), rows: 1024, inputs: 1536, outputs: 768),
      linear(WeightKind(format: .nf4, isDoubleQuantised: true), rows: 1024, inputs: 1536, outputs: 576),
      linear(WeightKind(format: .q4_K), rows: 1, inputs: 1536, outputs: 768),
      trainableLinear(rows: 1024, inputs: 576, outputs: 16),
      attention([(1024, 1024)], heads: 9, keyValueHeads: 3, headSize: 64),
      attention([(256, 256), (256, 256), (512, 512)], heads: 9, keyValueHeads: 3, headSize: 64),
      rmsNorm(rows: 1024, width: 576, residual: true),
      rotate(rows: 1024, heads: 9, headSize: 64, rotary: 64),
      gatedActivation(.silu, 1024, 1536), add(1024, 576), convert(1024, 576), dropout(0.1, 1024, 576),
      crossEntropy(rows: 128, vocabulary: 49_152),
      sumOfSquares(1 << 20), adamW(1 << 20), adamW8bit(1 << 20),
    ]
  }
}
