import Basics
import Compute

extension Decoder {
  /// Elements of the rows that are in memory at a time.
  private static let pieceElements = 1 << 22

  /// Calls `body` with all rows of a tensor as files of whole models hold them, adapters merged in, some at a time:
  /// W + scale B A in float32.
  ///
  /// - Parameters:
  ///   - name: in messages.
  ///   - format: what `body` turns the numbers into.
  ///   - unit: pieces are multiples of so many rows.
  /// - Throws: `.malformedFile` for what is no finite number; `.unsupported` for what exceeds the range of `format`.
  func forEachPiece(
    of site: TensorSite, named name: String, as format: StorageFormat, unit: Int = 1,
    _ body: ([Float]) throws(SwiftletError) -> Void
  ) throws(SwiftletError) {
    let (rows, columns) = shape(of: site)
    let size = max(1, Self.pieceElements / (columns * unit)) * unit
    let update = try lowRankUpdate(of: site)
    for start in stride(from: 0, to: rows, by: size) {
      let range = start..<min(rows, start + size)
      var values = try values(of: site, range)
      try update?.add(rows: range, to: &values, on: backend)
      try Self.check(values, name, format)
      try body(values)
    }
    if case .weight(let path, let part) = site { self[keyPath: path].parts[part].weight.forgetFile() }
  }

  /// Gives back the memory that reading mapped weights has cost, when they are not needed soon.
  public func forgetFiles() {
    embedding.forgetFile()
    for (path, _) in linears {
      for part in self[keyPath: path].parts { part.weight.forgetFile() }
    }
  }

  /// Rows as the model holds them, without what adapters add.
  private func values(of site: TensorSite, _ range: Range<Int>) throws(SwiftletError) -> [Float] {
    switch site {
    case .embedding: try embedding.rows(range, on: backend)
    case .weight(let path, let part): try self[keyPath: path].parts[part].weight.rows(range, on: backend)
    case .bias(let path, let part): try self[keyPath: path].parts[part].bias?.read(on: backend) ?? []
    case .norm(let path): try self[keyPath: path].weight.read(on: backend)
    }
  }

  private func lowRankUpdate(of site: TensorSite) throws(SwiftletError) -> LowRankUpdate? {
    guard case .weight(let path, let part) = site, let down = self[keyPath: path].down,
      let adapter = self[keyPath: path].parts[part].adapter
    else { return nil }
    return LowRankUpdate(
      up: adapter.up, down: try down.weight.rows(adapter.columns, on: backend), scale: adapter.scale)
  }

  /// Halves end at 65504, and the scales of blocks are halves.
  private static func check(
    _ values: [Float], _ name: String, _ format: StorageFormat
  ) throws(SwiftletError) {
    let hasWideRange = format == .f32 || format == .bf16
    let limit: Float = hasWideRange ? .greatestFiniteMagnitude : 65504
    guard let stranger = values.first(where: { !(abs($0) <= limit) }) else { return }
    guard stranger.isFinite else {
      throw SwiftletError(
        .malformedFile, "tensor \"\(name)\" holds \(stranger): base model or adapter is broken",
        remedy: "An adapter whose training diverged cannot be merged: train again with a lower learning rate."
      )
    }
    throw SwiftletError(
      .unsupported, "tensor \"\(name)\" holds \(stranger), which exceeds what \(format) can say, 65504",
      remedy: "Write bfloat16 or float32.")
  }
}
