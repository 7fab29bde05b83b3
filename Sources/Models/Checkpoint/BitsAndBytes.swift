import Basics
import Compute

/// Linear layers of checkpoints that bitsandbytes has quantised already. Codes stay in the file.
///
/// Source: bitsandbytes' `QuantState.as_dict(packed: true)` and `Linear8bitLt`.
extension TensorStore {
  /// The quantised matrix (out, in) of the linear layer `prefix` ("model.layers.0.mlp.up_proj"): NF4 or INT8;
  /// nil when the layer is not quantised.
  ///
  /// - Throws: `.malformedFile` when a part is missing or has the wrong size; `.unsupported` for other block
  ///   sizes and 4-bit types.
  public func bitsAndBytesWeight(_ prefix: String) throws(SwiftletError) -> Weight? {
    if let state = tensor("\(prefix).weight.quant_state.bitsandbytes__nf4") {
      return try NF4Parts(store: self, prefix: prefix, state: state).weight()
    }
    if tensor("\(prefix).weight.quant_state.bitsandbytes__fp4") != nil {
      throw SwiftletError(
        .unsupported, "\(path): \"\(prefix)\" is quantised to FP4, which is not read",
        remedy: "Quantise the model with bnb_4bit_quant_type \"nf4\".")
    }
    return tensor("\(prefix).SCB") == nil ? nil : try int8Weight(prefix)
  }

  private func int8Weight(_ prefix: String) throws(SwiftletError) -> Weight {
    let codes = try required("\(prefix).weight")
    let scales = try required("\(prefix).SCB")
    guard codes.element == .i8, codes.shape.count == 2, codes.count > 0, scales.element == .weight(.f32),
      scales.count == codes.shape[0]
    else {
      throw SwiftletError(
        .malformedFile,
        "\(path): \"\(prefix)\": INT8 needs a matrix of I8 and one F32 per row, found "
          + "\(codes.element.name) \(codes.shape) and \(scales.element.name) \(scales.shape)")
    }
    if let layout = tensor("\(prefix).weight_format"), layout.withBytes({ $0.first }) != 0 {
      throw SwiftletError(
        .unsupported, "\(path): \"\(prefix)\": its INT8 rows are in a layout of one GPU generation",
        remedy: "Save the model again with a current bitsandbytes.")
    }
    return try Weight(
      int8: codes.address, rows: codes.shape[0], columns: codes.shape[1], scales: scales.floats(),
      owners: codes.file)
  }
}

/// Gathers and checks what makes an NF4 matrix.
private struct NF4Parts<Store: TensorStore> {
  let store: Store
  let prefix: String
  let state: StoredTensor

  func weight() throws(SwiftletError) -> Weight {
    let description = try describe()
    let (rows, columns) = try shape(description)
    let elements = rows * columns
    try check("quant_type", description["quant_type"]?.string == "nf4")
    try check("blocksize", description["blocksize"]?.int == 64)
    // The codes' bytes may be declared as any type (bitsandbytes' quant_storage).
    let codes = try store.required("\(prefix).weight")
    guard codes.range.count == (elements + 1) / 2 else { throw wrongSize(codes, (elements + 1) / 2) }
    return try Weight(
      nf4: codes.address, rows: rows, columns: columns, table: floats("quant_map", 16),
      scales: scales(description, elements), owners: codes.file, part("absmax").file)
  }

  private func scales(_ description: JSON, _ elements: Int) throws(SwiftletError) -> NF4.Scales {
    let count = NF4.scaleCount(elements: elements)
    guard store.tensor("\(prefix).weight.nested_absmax") != nil else {
      return .plain(try floats("absmax", count))
    }
    try check("nested_blocksize", description["nested_blocksize"]?.int == 256)
    let codes = try part("absmax")
    guard codes.element == .u8, codes.count == count else { throw wrongSize(codes, count) }
    guard let offset = description["nested_offset"]?.double else {
      throw malformed("there is no nested_offset")
    }
    return .nested(
      codes: codes.address, map: try floats("nested_quant_map", 256),
      absmax: try floats("nested_absmax", NF4.nestedScaleCount(elements: elements)), offset: Float(offset))
  }

  /// The JSON that stands in the quant_state's bytes.
  private func describe() throws(SwiftletError) -> JSON {
    do { return try JSON(parsing: state.withBytes { Array($0) }) } catch {
      throw malformed("quant_state: \(error.message)")
    }
  }

  private func shape(_ description: JSON) throws(SwiftletError) -> (rows: Int, columns: Int) {
    guard let sizes = description["shape"]?.array?.compactMap(\.int), sizes.count == 2, sizes[0] > 0,
      sizes[1] > 0,
      !sizes[0].multipliedReportingOverflow(by: sizes[1]).overflow
    else { throw malformed("quant_state: the shape is not that of a matrix") }
    return (sizes[0], sizes[1])
  }

  private func part(_ name: String) throws(SwiftletError) -> StoredTensor {
    try store.required("\(prefix).weight.\(name)")
  }

  private func floats(_ name: String, _ count: Int) throws(SwiftletError) -> [Float] {
    let tensor = try part(name)
    guard tensor.element == .weight(.f32), tensor.count == count else { throw wrongSize(tensor, count) }
    return try tensor.floats()
  }

  private func check(_ key: String, _ isKnown: Bool) throws(SwiftletError) {
    guard isKnown else {
      throw SwiftletError(
        .unsupported, "\(store.path): \"\(prefix)\": the NF4 \(key) is not the usual one",
        remedy: "Quantise the model with bitsandbytes' defaults: blocks of 64, scales in blocks of 256.")
    }
  }

  private func wrongSize(_ tensor: StoredTensor, _ count: Int) -> SwiftletError {
    malformed("\"\(tensor.name)\" is \(tensor.element.name) \(tensor.shape), expected \(count) elements")
  }

  private func malformed(_ what: String) -> SwiftletError {
    SwiftletError(.malformedFile, "\(store.path): \"\(prefix)\": \(what)")
  }
}
