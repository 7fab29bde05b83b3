import Basics

/// What would fit where a micro-batch does not: shorter lines, or fewer of them, found by planning again.
struct SmallerBatch {
  /// Of the micro-batch that does not fit.
  let lines: Int
  let length: Int
  /// Whether a micro-batch of so many lines of so many tokens does.
  let fits: (_ lines: Int, _ length: Int) -> Bool

  /// `error`, its remedy naming what would fit.
  func explaining(_ error: SwiftletError) -> SwiftletError {
    SwiftletError(error.code, error.message, remedy: remedy)
  }

  private var remedy: String {
    let instead = lines > 1 ? fewer ?? longest(of: 1) : nil
    let choices = [longest(of: lines), instead].compactMap(\.self)
    guard !choices.isEmpty else {
      return
        "No shorter max_seq_length fits either: raise memory_budget, or take a smaller model or one whose weights "
        + "are stored in fewer bits."
    }
    return "What fits: \(choices.joined(separator: ", or ")). Or raise memory_budget."
  }

  /// The longest of `lines` lines that fit, in steps of a thirty-second; nil when none do.
  private func longest(of lines: Int) -> String? {
    let unit = (length + 31) / 32
    return Self.greatest(below: (length + unit - 1) / unit) { fits(lines, $0 * unit) }.map {
      "max_seq_length \($0 * unit) with per_device_train_batch_size \(lines)"
    }
  }

  /// The most lines of this length; nil when not even one fits.
  private var fewer: String? {
    Self.greatest(below: lines) { fits($0, length) }.map {
      "max_seq_length \(length) with per_device_train_batch_size \($0) and more gradient_accumulation_steps"
    }
  }

  /// The greatest number from 1 and below `end` of those that fit, which are all up to it.
  private static func greatest(below end: Int, _ fits: (Int) -> Bool) -> Int? {
    var (good, bad) = (0, end)
    while bad - good > 1 {
      let middle = (good + bad) / 2
      if fits(middle) { good = middle } else { bad = middle }
    }
    return good > 0 ? good : nil
  }
}
