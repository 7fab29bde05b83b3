/// A token that is looked for in the text itself, before anything else happens to it.
struct AddedToken: Sendable {
  var id: Int32
  var content: String
  /// Left out by `decode(_:skipSpecialTokens: true)`.
  var isSpecial = true
  /// Looked for in the normalised text.
  var isNormalized = false
  /// Takes the whitespace to its left, or right, with it.
  var stripsLeft = false
  var stripsRight = false
  /// Only where no letter, digit or underscore touches it.
  var isSingleWord = false
}

/// Finds added tokens: leftmost first, the longest where several begin. A trie over their bytes.
struct AddedTokenMatcher: Sendable {
  struct Match {
    var range: Range<Int>
    var id: Int32
  }

  private let tokens: [AddedToken]
  /// `node << 8 | byte` to the next node; node 0 is the root.
  private var edges: [Int: Int] = [:]
  /// Place in `tokens` of the token that ends at a node.
  private var ends: [Int?] = [nil]
  /// Whether a token begins with a byte.
  private var beginsToken = [Bool](repeating: false, count: 256)

  var isEmpty: Bool { tokens.isEmpty }

  /// - Parameter tokens: each token with the bytes to look for.
  init(_ tokens: [(AddedToken, [UInt8])]) {
    self.tokens = tokens.map(\.0)
    for (place, (_, bytes)) in tokens.enumerated() {
      guard let first = bytes.first else { continue }
      beginsToken[Int(first)] = true
      var node = 0
      for byte in bytes {
        let edge = node << 8 | Int(byte)
        if edges[edge] == nil {
          edges[edge] = ends.count
          ends.append(nil)
        }
        node = edges[edge] ?? 0
      }
      ends[node] = ends[node] ?? place
    }
  }

  /// The tokens in `bytes[range]`, in order; whitespace that a token takes with it belongs to its range.
  func matches(in bytes: [UInt8], _ range: Range<Int>) -> [Match] {
    var matches: [Match] = []
    var at = range.lowerBound
    while at < range.upperBound {
      guard beginsToken[Int(bytes[at])], let (token, end) = longest(bytes, at, range.upperBound) else {
        at += 1
        continue
      }
      if !token.isSingleWord || standsAlone(bytes, at..<end, range) {
        let start =
          token.stripsLeft ? spaceBefore(bytes, at, matches.last?.range.upperBound ?? range.lowerBound) : at
        let stop =
          token.stripsRight
          ? WordScanner(bytes: bytes, end: range.upperBound).run(end) { $0.isWhitespace } : end
        matches.append(Match(range: start..<stop, id: token.id))
        at = stop
      } else {
        at = end
      }
    }
    return matches
  }

  private func longest(_ bytes: [UInt8], _ start: Int, _ end: Int) -> (AddedToken, end: Int)? {
    var node = 0
    var at = start
    var found: (AddedToken, Int)?
    while at < end, let next = edges[node << 8 | Int(bytes[at])] {
      node = next
      at += 1
      if let place = ends[node] { found = (tokens[place], at) }
    }
    return found
  }

  private func standsAlone(_ bytes: [UInt8], _ match: Range<Int>, _ range: Range<Int>) -> Bool {
    let before =
      match.lowerBound > range.lowerBound && isWord(bytes, scalarStart(bytes, before: match.lowerBound))
    let after = match.upperBound < range.upperBound && isWord(bytes, match.upperBound)
    return !before && !after
  }

  /// `\w`. Source: Unicode Technical Standard 18, Annex C.
  private func isWord(_ bytes: [UInt8], _ at: Int) -> Bool {
    guard let scalar = Unicode.Scalar(decodeScalar(bytes, at).value) else { return false }
    switch scalar.properties.generalCategory {
    case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark: return true
    default: return scalar.properties.isAlphabetic || scalar.properties.isJoinControl
    }
  }

  private func spaceBefore(_ bytes: [UInt8], _ start: Int, _ limit: Int) -> Int {
    var at = start
    while at > limit {
      let previous = scalarStart(bytes, before: at)
      if !ScalarKind.of(decodeScalar(bytes, previous).value).isWhitespace { break }
      at = previous
    }
    return max(at, limit)
  }

  private func scalarStart(_ bytes: [UInt8], before place: Int) -> Int {
    var at = place - 1
    while bytes[at] & 0xC0 == 0x80 { at -= 1 }
    return at
  }
}
