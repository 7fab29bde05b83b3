import Foundation

/// A change of the text before it is split, as `normalizer` of tokenizer.json describes it.
indirect enum Normalizer: Sendable {
  case sequence([Normalizer])
  case unicode(UnicodeForm)
  case lowercase
  case stripAccents
  /// Whitespace at the ends.
  case strip(left: Bool, right: Bool)
  /// Put before a text that is not empty.
  case prepend([UInt8])
  case replace(TextPattern, with: [UInt8])

  /// Source: Unicode Standard Annex 15.
  enum UnicodeForm: String, Sendable {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    func apply(_ text: String) -> String {
      switch self {
      case .nfc: text.precomposedStringWithCanonicalMapping
      case .nfd: text.decomposedStringWithCanonicalMapping
      // By definition; Foundation's own NFKC on Linux leaves what it decomposed uncomposed.
      case .nfkc: text.decomposedStringWithCompatibilityMapping.precomposedStringWithCanonicalMapping
      case .nfkd: text.decomposedStringWithCompatibilityMapping
      }
    }
  }

  func apply(to text: inout AlignedText) {
    switch self {
    case .sequence(let steps): for step in steps { step.apply(to: &text) }
    case .unicode(let form): Self.normalize(&text, form)
    case .lowercase: Self.mapScalars(&text) { $0.properties.lowercaseMapping }
    case .stripAccents: Self.mapScalars(&text) { ScalarKind.of($0.value) == .mark ? "" : nil }
    case .strip(let left, let right): Self.strip(&text, left, right)
    case .prepend(let prefix):
      if text.bytes.isEmpty { return }
      var rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
      rewriter.replace(0..<0, with: prefix)
      rewriter.keep(0..<text.bytes.count)
      text = rewriter.finish()
    case .replace(let pattern, let replacement):
      let parts = pattern.parts(of: text.bytes, 0..<text.bytes.count)
      if !parts.contains(where: \.isMatch) { return }
      var rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
      for part in parts {
        if part.isMatch { rewriter.replace(part.range, with: replacement) } else { rewriter.keep(part.range) }
      }
      text = rewriter.finish()
    }
  }

  private static func strip(_ text: inout AlignedText, _ left: Bool, _ right: Bool) {
    let isSpace = TextPattern.characters(.whitespace).parts(of: text.bytes, 0..<text.bytes.count)
    let first = left ? isSpace.first { !$0.isMatch }?.range.lowerBound ?? text.bytes.count : 0
    let last = right ? isSpace.last { !$0.isMatch }?.range.upperBound ?? first : text.bytes.count
    if first == 0, last == text.bytes.count { return }
    var rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
    rewriter.keep(first..<max(first, last))
    text = rewriter.finish()
  }

  /// Replaces each scalar by what `map` says; nil keeps it.
  private static func mapScalars(_ text: inout AlignedText, _ map: (Unicode.Scalar) -> String?) {
    var rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
    var at = 0
    while at < text.bytes.count {
      let (value, length) = decodeScalar(text.bytes, at)
      let range = at..<at + length
      if let scalar = Unicode.Scalar(value), let new = map(scalar) {
        rewriter.replace(range, with: new.utf8)
      } else {
        rewriter.keep(range)
      }
      at += length
    }
    text = rewriter.finish()
  }

  // MARK: - Unicode normalisation

  private static func normalize(_ text: inout AlignedText, _ form: UnicodeForm) {
    // Below U+0300 a text is in NFC whatever it is; ASCII is in every form.
    let simple: UInt8 = form == .nfc ? 0xCC : 0x80
    if text.bytes.allSatisfy({ $0 < simple }) { return }
    let old = String(decoding: text.bytes, as: UTF8.self)
    let new = Array(form.apply(old).utf8)
    if new == text.bytes { return }
    text = align(text, old, new, form)
  }

  /// `text` with the bytes `new`, each aligned with the grapheme cluster that it came from.
  private static func align(
    _ text: AlignedText, _ old: String, _ new: [UInt8], _ form: UnicodeForm
  ) -> AlignedText {
    var rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
    if text.tracksSource {
      var at = 0
      for character in old {
        let range = at..<at + character.utf8.count
        let changed = form.apply(String(character)).utf8
        if changed.elementsEqual(character.utf8) {
          rewriter.keep(range)
        } else {
          rewriter.replace(range, with: Array(changed))
        }
        at = range.upperBound
      }
      if rewriter.bytes == new { return rewriter.finish() }
    }
    // Not tracked, or (rare: compatibility Jamo) clusters composed with each other.
    rewriter = AlignedText.Rewriter(text, capacity: text.bytes.count * 3 / 2)
    rewriter.replace(0..<text.bytes.count, with: new)
    return rewriter.finish()
  }
}
