import Text

/// The bytes of every token as a trie: what tokens share at their beginning is looked at once. Made once for each
/// tokenizer.
public final class TokenVocabulary: Sendable {
  /// Rows of the model's head: bits of a mask.
  public let size: Int
  /// Bytes by id; none for tokens that stand for no text.
  let tokens: [[UInt8]]

  // The nodes, each before those below it, which are its bytes' continuations in order. The root is node 0.
  /// Byte by which a node is reached.
  let bytes: [UInt8]
  let depths: [Int32]
  /// The first node after those below.
  let ends: [Int32]
  /// The tokens that end at a node are `ids[firstTokens[node]..<firstTokens[node + 1]]`.
  let firstTokens: [Int32]
  let ids: [Int32]

  /// - Parameter size: the model may have more rows than the tokenizer has tokens; the others are never allowed.
  ///
  /// Special tokens stand for no text and are left out.
  public convenience init(_ tokenizer: Tokenizer, size: Int) {
    let tokens = (0..<Int32(min(size, tokenizer.vocabularySize))).map { id in
      tokenizer.isSpecial(id) ? [] : tokenizer.bytes(of: id)
    }
    self.init(tokens, size: size)
  }

  /// - Parameter tokens: bytes by id; of none, the token is never allowed.
  init(_ tokens: [[UInt8]], size: Int) {
    self.size = size
    self.tokens = tokens + Array(repeating: [], count: size - tokens.count)
    var trie = TrieBuilder()
    for (id, bytes) in TrieBuilder.sorted(tokens) { trie.append(id, bytes) }
    trie.finish()
    (bytes, depths, ends) = (trie.bytes, trie.depths, trie.ends)
    (firstTokens, ids) = (trie.firstTokens, trie.ids)
  }

  /// Words of a mask: 32 tokens each.
  var maskWords: Int { (size + 31) / 32 }
}

/// Lays out a trie from tokens in the order of their bytes.
private struct TrieBuilder {
  var bytes: [UInt8] = [0]
  var depths: [Int32] = [0]
  var ends: [Int32] = [0]
  var firstTokens: [Int32] = [0]
  var ids: [Int32] = []
  /// Nodes from the root to the last token's.
  private var path: [Int32] = [0]
  private var last: [UInt8] = []

  /// By their bytes, without those that have none.
  static func sorted(_ tokens: [[UInt8]]) -> [(id: Int32, bytes: [UInt8])] {
    tokens.enumerated().filter { !$0.element.isEmpty }.map { (Int32($0.offset), $0.element) }
      .sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
  }

  mutating func append(_ id: Int32, _ token: [UInt8]) {
    let shared = zip(last, token).prefix { $0 == $1 }.count
    leave(to: shared)
    for byte in token[shared...] {
      path.append(Int32(bytes.count))
      bytes.append(byte)
      depths.append(Int32(path.count - 1))
      ends.append(0)
      firstTokens.append(Int32(ids.count))
    }
    ids.append(id)
    last = token
  }

  mutating func finish() {
    leave(to: 0)
    ends[0] = Int32(bytes.count)
    firstTokens.append(Int32(ids.count))
  }

  private mutating func leave(to depth: Int) {
    while path.count > depth + 1 { ends[Int(path.removeLast())] = Int32(bytes.count) }
  }
}
