import Basics
import Foundation

extension DatasetCache {
  /// The hash (32 bytes) of all that decides about the tokens. Paths do not: a moved file is the same file.
  static func key(
    files: [DataFile], tokenizer: Tokenizer, chatTemplate: ChatTemplate?, options: DatasetOptions
  ) throws(SwiftletError) -> [UInt8] {
    // Descriptions print every stored property (a template's source is one): none that is added can be forgotten.
    var parts = [tokenizer.fingerprint, SHA256.hash("\(options)\n\(chatTemplate as Any)".utf8)]
    for file in files { parts.append(try file.fingerprint()) }
    return SHA256.hash(parts.joined())
  }
}

extension DataFile {
  /// The hash of kind and bytes: that of the hashes of pieces, which are computed on all cores.
  fileprivate func fingerprint() throws(SwiftletError) -> [UInt8] {
    let piece = 4 << 20
    let pieces = (bytes.count + piece - 1) / piece
    let hashes = try inParallel(pieces, into: Array(kind.rawValue.utf8)) { index in
      SHA256.hash(bytes[index * piece..<min((index + 1) * piece, bytes.count)])
    } add: { hashes, hash in
      hashes += hash
    }
    return SHA256.hash(hashes)
  }
}

extension Tokenizer {
  /// The hash of the vocabulary, of the tokens with a role, and of what a text full of corner cases becomes: rules that
  /// the vocabulary does not show (how text is split and merged) show there.
  fileprivate var fingerprint: [UInt8] {
    var hash = SHA256()
    for id in 0..<Int32(vocabularySize) {
      hash.update(Array((token(of: id) ?? "").utf8))
      hash.update([0, isSpecial(id) ? 1 : 0])
    }
    let roles = [bosToken, eosToken, padToken, unkToken]
    hash.update(Array("\(roles.map { $0?.id ?? -1 }) \(addsBOS) \(addsEOS)".utf8))
    let probe =
      "Hello, world!  it's 1234567 + 3.14\n\n\tﬁne  ÀÉ e\u{301} 東京 привет 👩‍👩‍👧 \u{a0}\r\n def f(x):\n    return x_1"
    hash.update(Array("\(encode(probe, addSpecialTokens: true))".utf8))
    return hash.finish()
  }
}
