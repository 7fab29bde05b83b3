import Basics
import Compute

extension Decoder {
  /// Writes the model as a GGUF file: adapters merged in, q and k in the order of rows that llama.cpp wants. Some rows
  /// are in memory at a time.
  ///
  /// - Parameters:
  ///   - name: `general.name`.
  ///   - tokenizer: the keys `tokenizer.*`.
  ///   - progress: called with the tensors written and of all.
  /// - Throws: `.unwritable`; `.unsupported` for what the format cannot say, and for numbers beyond the type's range;
  ///   `.malformedFile` for what is no finite number.
  public func saveGGUF(
    to path: String, as type: GGUFType, name: String, tokenizer: [GGUFEntry],
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    var metadata = [
      GGUFEntry("general.architecture", .string(spec.family.ggufArchitecture)),
      GGUFEntry("general.type", .string("model")), GGUFEntry("general.name", .string(name)),
      GGUFEntry("general.file_type", type.fileType),
    ]
    if type.format.blockSize > 1 { metadata.append(GGUFEntry("general.quantization_version", 2)) }
    metadata += try spec.ggufMetadata() + tokenizer
    let divisors = try spec.ggufRotaryDivisors()
    let tensors = tensors
    var entries = tensors.map { ggufEntry($0, $1, type) }
    if let divisors {
      entries.append(GGUFWriter.Entry(TensorName.rotaryDivisors.gguf, [divisors.count], .f32))
    }
    let writer = try GGUFWriter(path: path, metadata: metadata, tensors: entries)
    for (number, ((name, site), entry)) in zip(tensors, entries).enumerated() {
      let head = isInterleaved(name) ? spec.headSize : 1
      try forEachPiece(of: site, named: entry.name, as: entry.format, unit: site.isMatrix ? head : 1) {
        values throws(SwiftletError) in
        let values = Self.interleaved(
          values, head: head, columns: site.isMatrix ? shape(of: site).columns : 1)
        try writer.append(values.span, to: entry.name)
      }
      progress(number + 1, tensors.count)
    }
    if let divisors { try writer.append(divisors.span, to: TensorName.rotaryDivisors.gguf) }
    try writer.finish()
  }

  private func ggufEntry(_ name: TensorName, _ site: TensorSite, _ type: GGUFType) -> GGUFWriter.Entry {
    let (rows, columns) = shape(of: site)
    guard site.isMatrix else { return GGUFWriter.Entry(name.gguf, [columns], .f32) }
    let isHead = name == .head || name == .embedding && !hasOwnHead
    return GGUFWriter.Entry(
      name.gguf, [rows, columns], type.format(of: name, isHead: isHead, columns: columns, in: spec))
  }

  /// Whether GGUF holds this tensor's rows in interleaved rotary order.
  func isInterleaved(_ name: TensorName) -> Bool {
    guard spec.family.ggufInterleavesRotary else { return false }
    switch name {
    case .weight(let kind, _), .bias(let kind, _): return kind == .q || kind == .k
    default: return false
    }
  }

  /// Whole heads of rows in GGUF's order: row 2i is row i of the head's first half, row 2i + 1 of its second.
  ///
  /// - Parameter head: rows of a head; 1 to leave all as it is.
  static func interleaved(_ values: [Float], head: Int, columns: Int) -> [Float] {
    guard head > 1 else { return values }
    var out: [Float] = []
    out.reserveCapacity(values.count)
    for row in 0..<values.count / columns {
      let (start, inner) = (row / head * head, row % head)
      let from = start + inner % 2 * (head / 2) + inner / 2
      out += values[from * columns..<(from + 1) * columns]
    }
    return out
  }
}
