import Basics
import Compute

extension Decoder {
  /// Writes the model as a folder that bitsandbytes has quantised already: the blocks' linear layers in NF4 with double
  /// quantisation, adapters merged in before, everything else in bfloat16. transformers and vLLM load it as it is.
  ///
  /// - Parameters:
  ///   - source: what the model was loaded from; a folder's tokenizer files are copied.
  ///   - maximumShard: bytes of one file.
  ///   - progress: called with the tensors written and of all.
  /// - Throws: as `save` does.
  public func saveBitsAndBytes(
    to folder: String, source: ModelFile, maximumShard: Int = 5_000_000_000,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    var config = try config(source, .bfloat16)
    config["quantization_config"] = Self.quantizationConfig
    try createFolder(folder)
    let tensors = tensors
    let writer = try SafetensorsFolderWriter(
      folder: folder, tensors: tensors.flatMap { bitsAndBytesEntries($0, $1) }, maximumShard: maximumShard)
    for (number, (name, site)) in tensors.enumerated() {
      if Self.isQuantised(name) {
        try writeNF4(name, site, writer)
      } else {
        let name = name.huggingFace ?? ""
        try forEachPiece(of: site, named: name, as: .bf16) { values throws(SwiftletError) in
          try writer.writer(of: name).append(values.span, to: name)
        }
      }
      progress(number + 1, tensors.count)
    }
    try writer.finish()
    if case .folder(let source, _) = source { try Self.copyTokenizer(from: source.path, to: folder) }
    try writeFile(Array((JSON.object(config).text(.indented(2)) + "\n").utf8), to: "\(folder)/config.json")
  }

  /// What transformers writes for `BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
  /// bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)`.
  private static let quantizationConfig: JSON = [
    "quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "_load_in_4bit": true,
    "_load_in_8bit": false, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true,
    "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
    "llm_int8_enable_fp32_cpu_offload": false, "llm_int8_has_fp16_weight": false,
    "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0,
  ]

  /// The blocks' linear layers, as transformers does: neither embedding nor head.
  private static func isQuantised(_ name: TensorName) -> Bool {
    if case .weight = name { true } else { false }
  }

  private func bitsAndBytesEntries(_ name: TensorName, _ site: TensorSite) -> [SafetensorsWriter.Entry] {
    let (rows, columns) = shape(of: site)
    let key = name.huggingFace ?? ""
    guard Self.isQuantised(name) else {
      return [SafetensorsWriter.Entry(key, site.isMatrix ? [rows, columns] : [columns], .weight(.bf16))]
    }
    let elements = rows * columns
    return [
      SafetensorsWriter.Entry(key, [(elements + 1) / 2, 1], .u8),
      SafetensorsWriter.Entry("\(key).absmax", [NF4.scaleCount(elements: elements)], .u8),
      SafetensorsWriter.Entry("\(key).quant_map", [NF4.table.count], .weight(.f32)),
      SafetensorsWriter.Entry(
        "\(key).nested_absmax", [NF4.nestedScaleCount(elements: elements)], .weight(.f32)),
      SafetensorsWriter.Entry("\(key).nested_quant_map", [DynamicMap.signed.count], .weight(.f32)),
      SafetensorsWriter.Entry(
        "\(key).\(Self.stateName)", [Self.state(rows, columns, offset: 0).count], .u8),
    ]
  }

  private static let stateName = "quant_state.bitsandbytes__nf4"

  /// The JSON text of `QuantState`, of the same length for every offset: spaces fill it up.
  private static func state(_ rows: Int, _ columns: Int, offset: Float) -> [UInt8] {
    let state: JSON = [
      "quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [.int(rows), .int(columns)],
      "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": .double(Double(offset)),
    ]
    let text = Array(state.text(.spaced).utf8)
    let longest = 200
    precondition(text.count <= longest)
    return text + Array(repeating: UInt8(ascii: " "), count: longest - text.count)
  }

  private func writeNF4(
    _ name: TensorName, _ site: TensorSite, _ writer: SafetensorsFolderWriter
  ) throws(SwiftletError) {
    let (rows, columns) = shape(of: site)
    let key = name.huggingFace ?? ""
    let converter = try WeightConverter(rows: rows, columns: columns, to: .nf4)
    var pieces = converter.pieces[...]
    var done = 0
    try forEachPiece(of: site, named: key, as: .bf16, unit: converter.pieces[0].count) {
      values throws(SwiftletError) in
      let end = done + values.count / columns
      while let piece = pieces.first, piece.upperBound <= end {
        converter.convert(piece) { row, out in
          let start = (row - done) * columns
          values[start..<start + columns].withUnsafeBufferPointer { from in
            if let from = from.baseAddress { out.update(from: from, count: columns) }
          }
        }
        pieces.removeFirst()
      }
      done = end
    }
    let parts = try converter.finish().nestedNF4Parts()
    let (table, map) = (NF4.table, DynamicMap.signed)
    func file(_ part: String) -> SafetensorsWriter { writer.writer(of: "\(key)\(part)") }
    try file("").append(parts.codes.span.bytes, to: key)
    try file(".absmax").append(parts.scales.span.bytes, to: "\(key).absmax")
    try file(".quant_map").append(table.span, to: "\(key).quant_map")
    try file(".nested_absmax").append(parts.absmax.span, to: "\(key).nested_absmax")
    try file(".nested_quant_map").append(map.span, to: "\(key).nested_quant_map")
    let state = Self.state(rows, columns, offset: parts.offset)
    try file(".\(Self.stateName)").append(state.span.bytes, to: "\(key).\(Self.stateName)")
  }
}
