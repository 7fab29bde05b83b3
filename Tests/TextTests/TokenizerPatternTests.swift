import Basics
import Foundation
import Testing

@testable import Text

@Suite struct TokenizerPatternTests {
  /// The scanners against ICU's engine running the pattern itself.
  @Test(arguments: WordPattern.allCases)
  func scannersMatchTheirPattern(pattern: WordPattern) throws {
    #expect(WordPattern(regex: pattern.regex) == pattern)
    let regex = TextPattern.regex(try NSRegularExpression(pattern: pattern.regex))
    let texts = try TokenizerFamily("byte_level").texts + Self.randomTexts(count: 2000)
    for text in texts {
      let bytes = Array(text.utf8)
      let scanned = TextPattern.words(pattern).parts(of: bytes, 0..<bytes.count)
      let matched = regex.parts(of: bytes, 0..<bytes.count)
      #expect(scanned.map(\.range) == matched.map(\.range), "\(text.debugDescription)")
    }
  }

  /// Strings of what the patterns tell apart.
  private static func randomTexts(count: Int) -> [String] {
    let alphabet = Array(
      "abstdmrevlSTLEV'ſ \n\r\t/.!-0149é٣½ǅʰª中\u{301}\u{93F}\u{A0}\u{2003}\u{85}\u{200B}🦥".unicodeScalars)
    var state: UInt64 = 42
    func random(_ bound: Int) -> Int {
      // The generator of Knuth's MMIX; its high bits are the random ones.
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    return (0..<count).map { _ in
      var text = ""
      for _ in 0...random(16) { text.unicodeScalars.append(alphabet[random(alphabet.count)]) }
      return text
    }
  }

  @Test(arguments: [
    ("Isolated", false, ["a", "-", "-", "b", "-"]), ("Removed", false, ["a", "b"]),
    ("Removed", true, ["-", "-", "-"]), ("Contiguous", false, ["a", "--", "b", "-"]),
    ("MergedWithPrevious", false, ["a-", "-", "b-"]), ("MergedWithNext", false, ["a", "-", "-b", "-"]),
  ])
  func splitBehaviors(name: String, isInverted: Bool, expected: [String]) throws {
    let behavior = try #require(SplitBehavior(rawValue: name))
    let bytes = Array("a--b-".utf8)
    let parts = TextPattern.literal(Array("-".utf8)).parts(of: bytes, 0..<bytes.count)
    let pieces = behavior.pieces(parts, isInverted).map { String(decoding: bytes[$0], as: UTF8.self) }
    #expect(pieces == expected)
  }
}
