/// Decodes one token at a time and never hands out part of a character.
///
/// The pieces together equal `Tokenizer.decode` of all ids.
public struct StreamingDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool
  private var isFirst = true
  /// How many leading bytes the decoder may still drop.
  private var droppable: Int
  /// Bytes that may yet become a character.
  private var pending: [UInt8] = []

  public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool = false) {
    self.tokenizer = tokenizer
    self.skipsSpecialTokens = skipSpecialTokens
    droppable = tokenizer.core.decoder.leading.count
  }

  /// The text that `id` completes: empty while a character is still missing bytes.
  public mutating func append(_ id: Int32) -> String {
    push(id)
    let complete = completeCount
    defer { pending.removeFirst(complete) }
    return text(pending[..<complete])
  }

  /// The rest: bytes that no further token completed, as U+FFFD.
  public mutating func finish() -> String {
    defer { pending = [] }
    return text(pending[...])
  }

  /// Adds the bytes of `id` to those that wait.
  mutating func push(_ id: Int32) {
    let core = tokenizer.core
    if skipsSpecialTokens, core.isSpecial(id) { return }
    guard var bytes = core.bytes(of: id, isFirst: isFirst)?[...] else { return }
    isFirst = false
    while droppable > 0, let byte = bytes.first {
      guard byte == core.decoder.leading.byte else {
        droppable = 0
        break
      }
      bytes.removeFirst()
      droppable -= 1
    }
    pending.append(contentsOf: bytes)
  }

  /// How many of the waiting bytes come before a character that may be unfinished.
  private var completeCount: Int {
    for back in 1...3 where back <= pending.count {
      let byte = pending[pending.count - back]
      if byte >= 0xC0 { return scalarLength(byte) > back ? pending.count - back : pending.count }
      if byte < 0x80 { break }
    }
    return pending.count
  }

  private func text(_ bytes: ArraySlice<UInt8>) -> String {
    guard tokenizer.core.decoder.replacesEachByte else { return String(decoding: bytes, as: UTF8.self) }
    if let valid = String(validating: bytes, as: UTF8.self) { return valid }
    var text = ""
    var rest = bytes
    while let lead = rest.first {
      if let character = String(validating: rest.prefix(scalarLength(lead)), as: UTF8.self) {
        text += character
        rest = rest.dropFirst(scalarLength(lead))
      } else {
        text += "\u{FFFD}"
        rest = rest.dropFirst()
      }
    }
    return text
  }
}
