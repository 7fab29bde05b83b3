extension OpCase {
  /// What only generation does.
  static var generationCases: [OpCase] {
    fewRowsCases + feedForwardCases + pagedAttentionCases + samplingCases
  }
}
