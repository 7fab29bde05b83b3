/// What a step's plan depends on.
struct StepShape: Hashable {
  /// Rows that go through the model.
  var rows: Int
  /// Sequences that they are of.
  var sequences: Int
  /// Of a sequence, at most.
  var queries: Int
  /// Keys of a sequence, at most: a whole number of pages.
  var longest: Int
  /// Rows whose tokens are sampled: the last ones, or each of several prompts' last.
  var samples: Int
  /// Whether the host wants those rows' logits.
  var keepsLogits = false
  /// Whether rows may have other adapters than the model's only one.
  var selectsAdapters = true
  /// Rows of each sequence, where they are all that it has and go through attention without pages; empty elsewhere.
  var prompts: [Int] = []
  /// Changes of single logits; 0 for none.
  var edits = 0
  /// Whether tokens are masked.
  var masks = false

  /// The next size of a row of few: steps of that many rows share a plan, and a recording on a GPU.
  static func bucket(_ count: Int) -> Int {
    switch count {
    case ...4: count
    case ...16: (count + 3) / 4 * 4
    case ...64: (count + 7) / 8 * 8
    case ...256: (count + 31) / 32 * 32
    default: (count + 127) / 128 * 128
    }
  }

  /// The next power of two, at least `least`.
  static func power(_ count: Int, least: Int) -> Int {
    var power = least
    while power < count { power *= 2 }
    return power
  }
}
