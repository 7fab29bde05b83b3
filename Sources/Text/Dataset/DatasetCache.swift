import Basics
import Foundation

/// Tokenised data on disk.
///
/// A file of 8-byte little-endian words: magic, key (4), statistics (9), checksum, then a sequence's start each
/// (`sequences + 1`), then the bytes of the tokens and of their flags, each filled up to whole words with zeros. The
/// key stands for everything the tokens depend on, the checksum covers the rest of the file.
struct DatasetCache {
  private let path: String
  private let key: [UInt8]

  /// "SWTOKEN1"; the digit counts what a change of this file or of the way rows become tokens makes invalid.
  private static let magic: UInt64 = 0x314E_454B_4F54_5753
  private static let headerWords = 1 + 4 + 9 + 1

  /// A cache in `folder`, which is made if need be, for the data with hash `key` (32 bytes).
  ///
  /// - Throws: `.unwritable` before any work is done.
  init(folder: String, key: [UInt8]) throws(SwiftletError) {
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw Self.unwritable(folder, error)
    }
    self.key = key
    let name = key.prefix(16).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    path = URL(filePath: folder).appending(path: "\(name).tokens").path
  }

  /// The data set, or nil when it is not there or not whole.
  func load() -> TokenizedDataset? {
    guard let file = try? Data(contentsOf: URL(filePath: path), options: .alwaysMapped),
      file.count >= 8 * Self.headerWords
    else { return nil }
    let header: [UInt64] = file.array(0..<8 * Self.headerWords)
    guard header[0] == Self.magic, header[1..<5].elementsEqual(keyWords) else { return nil }
    let statistics = TokenizedDataset.Statistics(words: header[5..<14])

    // The counts come from the file: they are held against its size before anything is read by them.
    guard (0...file.count / 8).contains(statistics.sequences), (0...file.count).contains(statistics.tokens)
    else { return nil }
    let starts = 8 * Self.headerWords
    let tokens = starts + 8 * (statistics.sequences + 1)
    let flags = Self.wholeWords(tokens + 4 * statistics.tokens)
    guard file.count == Self.wholeWords(flags + statistics.tokens) else { return nil }
    var checksum = Checksum()
    file.withUnsafeBytes { raw in
      checksum.add(UnsafeRawBufferPointer(rebasing: raw[..<(starts - 8)]))
      checksum.add(UnsafeRawBufferPointer(rebasing: raw[starts...]))
    }
    guard checksum.value == header[14] else { return nil }

    var dataset = TokenizedDataset()
    dataset.starts = file.array(starts..<tokens)
    dataset.tokens = file.array(tokens..<tokens + 4 * statistics.tokens)
    dataset.isTrained = (file.array(flags..<flags + statistics.tokens) as [UInt8]).map { $0 != 0 }
    dataset.statistics = statistics
    return dataset
  }

  /// Writes the data set beside its place and moves it there, so that no reader meets half a file.
  ///
  /// - Throws: `.unwritable`.
  func store(_ dataset: TokenizedDataset) throws(SwiftletError) {
    let temporary = "\(path).\(ProcessInfo.processInfo.processIdentifier).tmp"
    do {
      try write(dataset, to: temporary)
      if rename(temporary, path) != 0 { throw CocoaError(.fileWriteUnknown) }
    } catch {
      try? FileManager.default.removeItem(atPath: temporary)
      throw Self.unwritable(path, error)
    }
  }

  private func write(_ dataset: TokenizedDataset, to temporary: String) throws {
    var header = [Self.magic] + keyWords + dataset.statistics.words
    var checksum = Checksum()
    header.withUnsafeBytes { checksum.add($0) }
    dataset.starts.withUnsafeBytes { checksum.add($0) }
    dataset.tokens.withUnsafeBytes { checksum.add($0) }
    dataset.isTrained.withUnsafeBytes { checksum.add($0) }
    header.append(checksum.value)

    try Data().write(to: URL(filePath: temporary))
    let file = try FileHandle(forWritingTo: URL(filePath: temporary))
    defer { try? file.close() }
    try header.withUnsafeBytes { try Self.append($0, to: file) }
    try dataset.starts.withUnsafeBytes { try Self.append($0, to: file) }
    try dataset.tokens.withUnsafeBytes { try Self.append($0, to: file) }
    try dataset.isTrained.withUnsafeBytes { try Self.append($0, to: file) }
    try file.synchronize()
  }

  /// Writes bytes, piece by piece to need no second copy of them, and zeros up to a whole word.
  private static func append(_ bytes: UnsafeRawBufferPointer, to file: FileHandle) throws {
    let piece = 1 << 20
    for start in stride(from: 0, to: bytes.count, by: piece) {
      try file.write(contentsOf: Data(bytes[start..<min(start + piece, bytes.count)]))
    }
    try file.write(contentsOf: Data(count: wholeWords(bytes.count) - bytes.count))
  }

  private var keyWords: [UInt64] { Data(key).array(0..<32) }

  private static func wholeWords(_ bytes: Int) -> Int { (bytes + 7) / 8 * 8 }

  private static func unwritable(_ path: String, _ error: any Error) -> SwiftletError {
    SwiftletError(
      .unwritable, "\(path): the cache of tokenised data cannot be written (\(error.localizedDescription))",
      remedy: "Free some disk space or give another cache folder.")
  }
}

/// FNV-1a over words: each step is a bijection, so that a single damaged word always shows. Sections that end within
/// a word count as filled up with zeros.
private struct Checksum {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    for at in stride(from: 0, to: bytes.count & ~7, by: 8) {
      value = (value ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* 0x100_0000_01B3
    }
    let rest = bytes[(bytes.count & ~7)...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    if bytes.count & 7 != 0 { value = (value ^ rest) &* 0x100_0000_01B3 }
  }
}

extension TokenizedDataset.Statistics {
  private static let fields: [WritableKeyPath<Self, Int> & Sendable] = [
    \.rows, \.empty, \.dropped, \.untrainable, \.truncated, \.sequences, \.tokens, \.trainedTokens, \.longest,
  ]

  fileprivate var words: [UInt64] { Self.fields.map { UInt64(self[keyPath: $0]) } }

  fileprivate init(words: some Sequence<UInt64>) {
    self.init()
    for (field, word) in zip(Self.fields, words) { self[keyPath: field] = Int(truncatingIfNeeded: word) }
  }
}

extension Data {
  /// The values that stand in a range of bytes.
  fileprivate func array<Value: BitwiseCopyable>(_ range: Range<Int>) -> [Value] {
    withUnsafeBytes { Array(UnsafeRawBufferPointer(rebasing: $0[range]).bindMemory(to: Value.self)) }
  }
}
