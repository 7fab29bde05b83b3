import Basics
import Foundation

extension TokenizedDataset {
  /// Tokenises the rows of `files`, in order, on all cores.
  ///
  /// - Parameters:
  ///   - chatTemplate: the model's; nil for a model without one.
  ///   - cacheFolder: where the result is kept and looked for. It is found again when the files' bytes, the
  ///     tokenizer, the template and the options are the same; a damaged cache is made anew. nil keeps nothing.
  ///   - progress: called with the rows done and the rows there are, from several threads but one at a time.
  /// - Throws: `.malformedFile` and `.invalidData` with file and line of the first bad row; `.invalidData` when no
  ///   row is left; `.invalidConfiguration`, `.template`, `.unwritable` (the cache).
  public static func build(
    files: [DataFile], tokenizer: Tokenizer, chatTemplate: ChatTemplate?, options: DatasetOptions,
    cacheFolder: String? = nil,
    progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(SwiftletError) -> TokenizedDataset {
    let encoders = try files.map { file throws(SwiftletError) in
      try RowEncoder(for: file, tokenizer: tokenizer, chatTemplate: chatTemplate, options: options)
    }
    let cache = try cacheFolder.map { folder throws(SwiftletError) in
      try DatasetCache(
        folder: folder,
        key: DatasetCache.key(
          files: files, tokenizer: tokenizer, chatTemplate: chatTemplate, options: options))
    }
    if let dataset = cache?.load() { return dataset }
    let dataset = try tokenize(files, encoders, options, progress)
    try dataset.checkNotEmpty(files, options)
    try cache?.store(dataset)
    return dataset
  }

  /// Rows that one thread takes at a time.
  private static let chunkSize = 64

  private static func tokenize(
    _ files: [DataFile], _ encoders: [RowEncoder], _ options: DatasetOptions,
    _ progress: @escaping @Sendable (Int, Int) -> Void
  ) throws(SwiftletError) -> TokenizedDataset {
    let total = files.reduce(0) { $0 + $1.count }
    let chunks = files.indices.flatMap { file in
      stride(from: 0, to: files[file].count, by: chunkSize).map {
        (file: file, rows: $0..<min($0 + chunkSize, files[file].count))
      }
    }
    return try inParallel(chunks.count, into: TokenizedDataset()) { index throws(SwiftletError) in
      let (file, rows) = chunks[index]
      return try tokenize(rows, of: files[file], encoders[file], options)
    } add: { dataset, part in
      dataset.append(part)
      progress(dataset.statistics.rows, total)
    }
  }

  private static func tokenize(
    _ rows: Range<Int>, of file: DataFile, _ encoder: RowEncoder, _ options: DatasetOptions
  ) throws(SwiftletError) -> TokenizedDataset {
    var part = TokenizedDataset()
    for index in rows {
      let row = try file.row(index)
      do throws(SwiftletError) {
        part.append(try encoder.encode(row), limit: options.maxSequenceLength, options.longSequences)
      } catch {
        throw SwiftletError(
          error.code, "\(file.place(of: index)): \(error.message)", remedy: error.remedy)
      }
    }
    return part
  }

  private func checkNotEmpty(_ files: [DataFile], _ options: DatasetOptions) throws(SwiftletError) {
    if count > 0 { return }
    let names = files.map(\.path).joined(separator: ", ")
    if statistics.rows == 0 { throw SwiftletError(.invalidData, "\(names): there are no rows") }
    let reasons = [
      (statistics.empty, "without a response or text"),
      (statistics.dropped, "longer than \(options.maxSequenceLength) tokens (max_seq_length)"),
      (statistics.untrainable, "without a token that the loss counts"),
    ]
    let remedy =
      statistics.dropped + statistics.untrainable > statistics.empty
      ? "Raise max_seq_length (the longest row has \(statistics.longest) tokens), truncate instead of dropping, "
        + "or set train_on_responses_only to false."
      : "Look at a row with `swiftlet dataset preview`: its columns may not be what their names say."
    throw SwiftletError(
      .invalidData,
      "\(names): of \(statistics.rows) rows none is left to train on: "
        + reasons.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", "),
      remedy: remedy)
  }
}
