import Basics
import CKernels
import Testing

@testable import Compute

/// Decoders against gguf, quantisers against bitsandbytes, to the bit.
struct QuantizationTests {
  let fixture: QuantizationFixture

  init() throws { fixture = try QuantizationFixture() }

  // MARK: - Decoding

  static let blockFormats: [(String, StorageFormat)] = [
    ("f16", .f16), ("bf16", .bf16), ("q4_0", .q4_0), ("q4_1", .q4_1), ("q5_0", .q5_0), ("q5_1", .q5_1),
    ("q8_0", .q8_0), ("q4_k", .q4_K), ("q5_k", .q5_K), ("q6_k", .q6_K),
  ]

  /// A weight whose bytes start one byte off any boundary.
  func weight(_ name: String, _ format: StorageFormat, interleavedHead: Int32 = 0) throws -> Weight {
    let entry = try fixture.json.member("blocks", name)
    let data: [UInt8] = try entry.array("data")
    let buffer = try Buffer(count: data.count + 1)
    (buffer.pointer(to: UInt8.self) + 1).update(from: data, count: data.count)
    var layout = try Weight.layout(
      format, entry.integer("rows"), entry.integer("columns"), buffer.base + 1)
    layout.interleaved_head = interleavedHead
    return Weight(layout: layout, owner: buffer)
  }

  @Test(arguments: blockFormats)
  func decodesAsGGUFDoes(name: String, format: StorageFormat) throws {
    let values: [Float] = try fixture.json.member("blocks", name).array("values")
    let weight = try weight(name, format)
    #expect(bits(weight.floats()) == bits(values))
    #expect(weight.bytes == weight.rows * weight.columns / format.blockSize * format.bytesPerBlock)
  }

  /// Any segment that starts at a block and ends anywhere has the values of the whole row.
  @Test(arguments: blockFormats)
  func decodesSegments(name: String, format: StorageFormat) throws {
    let weight = try weight(name, format)
    let row = Array(weight.floats()[weight.columns...])
    for first in stride(from: 0, to: weight.columns, by: max(32, format.blockSize)) {
      for count in [1, 7, 16, 31, 32, 33, 64, 100, 256, 300] where first + count <= weight.columns {
        #expect(
          bits(decode(weight, row: 1, first: first, count: count)) == bits(Array(row[first...].prefix(count)))
        )
      }
    }
  }

  /// Decodes a segment and checks that nothing beyond it is written.
  func decode(_ weight: Weight, row: Int, first: Int, count: Int) -> [Float] {
    var out = [Float](repeating: -77, count: count + 8)
    withUnsafePointer(to: weight.layout) {
      sw_weight_decode($0, Int64(row), Int64(first), Int64(count), &out)
    }
    #expect(out[count...].allSatisfy { $0 == -77 })
    return Array(out.prefix(count))
  }

  @Test func mapsInterleavedRows() throws {
    // Two heads of 6 rows, each row its number in the file: rows 0, 2, 4 are a head's first half.
    var weight = try Weight((0..<12).map(Float.init), rows: 12, columns: 1)
    weight.layout.interleaved_head = 6
    #expect(weight.floats() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11])
  }

  // MARK: - Tables

  @Test func tablesAreBitsandbytes() throws {
    #expect(try bits(DynamicMap.signed) == bits(fixture.json.member("maps").array("signed")))
    #expect(try bits(DynamicMap.unsigned) == bits(fixture.json.member("maps").array("unsigned")))
    #expect(try bits(NF4.table) == bits(fixture.json.array("nf4")))
  }

  // MARK: - Quantising

  static let matrices = [
    "normal", "partial last block", "odd columns", "ties", "one zero block", "zeros", "constant", "huge",
    "tiny",
    "subnormal",
  ]

  func matrix(_ name: String) throws -> (entry: JSON, weight: Weight) {
    let entry = try fixture.json.member("matrices", name)
    let weight = try Weight(
      entry.array("values"), rows: entry.integer("rows"), columns: entry.integer("columns"))
    return (entry, weight)
  }

  @Test(arguments: matrices)
  func quantisesToBitsandbytesNF4(name: String) throws {
    let (entry, weight) = try matrix(name)
    try check(weight, entry.member("nf4"))
  }

  @Test func quantisesManyBlocks() throws {
    let entry = try fixture.json.member("hashed")
    let (rows, columns) = (try entry.integer("rows"), try entry.integer("columns"))
    let values = (0..<rows * columns).map { i in
      Float(Int32(bitPattern: UInt32(truncatingIfNeeded: i &* 2_654_435_761)))
        * 0x1p-31 * (Float(1 + i / 64 % 37) / 8)
    }
    try check(Weight(values, rows: rows, columns: columns), entry.member("nf4"))
  }

  func check(_ weight: Weight, _ expected: JSON) throws {
    let quantised = try weight.converted(to: .nf4)
    let count = weight.rows * weight.columns
    let codes = UnsafeRawBufferPointer(start: quantised.layout.data, count: (count + 1) / 2)
    #expect(try Array(codes) == expected.array("codes"))

    // The first level's scales, then the second level's from the mean as torch summed it.
    let (_, absmax) = nf4Codes(weight.floats())
    let reference: [Float] = try expected.array("absmax")
    #expect(bits(absmax) == bits(reference))
    let offset: Float = try expected.array("offset")[0]
    let (scaleCodes, nested) = dynamicCodes(reference, offset: offset)
    #expect(try scaleCodes == expected.array("nearest_codes"))
    #expect(try bits(nested) == bits(expected.array("nested_absmax")))
    #expect(abs(quantised.layout.nested_offset - offset) <= 2 * offset.ulp)
  }

  func nf4Codes(_ values: [Float]) -> (codes: [UInt8], absmax: [Float]) {
    var codes = [UInt8](repeating: 0, count: (values.count + 1) / 2)
    var absmax = [Float](repeating: 0, count: NF4.scaleCount(elements: values.count))
    sw_quantize_nf4(values, Int64(values.count), NF4.table, &codes, &absmax)
    return (codes, absmax)
  }

  func dynamicCodes(_ values: [Float], offset: Float) -> (codes: [UInt8], absmax: [Float]) {
    var codes = [UInt8](repeating: 0, count: values.count)
    var absmax = [Float](repeating: 0, count: (values.count + 255) / 256)
    sw_quantize_dynamic(values, Int64(values.count), offset, DynamicMap.signed, &codes, &absmax)
    return (codes, absmax)
  }

  /// bitsandbytes' own codes and scales, decoded by us.
  @Test(arguments: matrices)
  func decodesBitsandbytesNF4(name: String) throws {
    let (entry, source) = try matrix(name)
    let expected = try entry.member("nf4")
    let codes: [UInt8] = try expected.array("codes")
    let scaleCodes: [UInt8] = try expected.array("absmax_codes")
    let buffer = try Buffer(count: codes.count + scaleCodes.count)
    buffer.pointer().update(from: codes + scaleCodes, count: buffer.count)
    let weight = try Weight(
      nf4: buffer.base, rows: source.rows, columns: source.columns,
      scales: .nested(
        codes: buffer.base + codes.count, map: DynamicMap.signed, absmax: expected.array("nested_absmax"),
        offset: expected.array("offset")[0]), owners: buffer)
    #expect(try bits(weight.floats()) == bits(expected.array("values")))
    #expect(weight.bytes == codes.count + scaleCodes.count + 4 * (16 + 256 + 1))

    let plain = try Weight(
      nf4: buffer.base, rows: source.rows, columns: source.columns, scales: .plain(expected.array("absmax")),
      owners: buffer)
    let absmax: [Float] = try expected.array("absmax")
    let floats = plain.floats()
    #expect(
      floats.indices.allSatisfy { i in
        floats[i] == NF4.table[Int(i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15)] * absmax[i / 64]
      })
  }

  @Test(arguments: matrices)
  func quantisesToBitsandbytesINT8(name: String) throws {
    let (entry, weight) = try matrix(name)
    let expected = try entry.member("int8")
    let quantised = try weight.converted(to: .int8)
    let codes = UnsafeRawBufferPointer(start: quantised.layout.data, count: weight.rows * weight.columns)
    let scales = Array(UnsafeBufferPointer(start: quantised.layout.row_scale, count: weight.rows))
    #expect(try Array(codes) == expected.array("codes"))
    #expect(try bits(scales) == bits(expected.array("scales")))
    #expect(try bits(quantised.floats()) == bits(expected.array("values")))
  }

  /// A matrix that holds no number does not become one that does.
  @Test(arguments: [Float.infinity, -.infinity, .nan], [WeightConverter.Target.nf4, .int8])
  func keepsWhatIsNoNumber(value: Float, target: WeightConverter.Target) throws {
    var values = (0..<128).map { Float($0) }
    values[70] = value
    let floats = try Weight(values, rows: 2, columns: 64).converted(to: target).floats()
    #expect(floats[64...].allSatisfy { !$0.isFinite })
    if target == .int8 { #expect(floats[..<64].allSatisfy { $0.isFinite }) }
  }

  // MARK: - Conversion

  /// Pieces cover the rows once, and their order does not change the result.
  @Test(arguments: WeightConverter.Target.allCases, [1, 33, 64, 1000])
  func convertsPieces(target: WeightConverter.Target, columns: Int) throws {
    let rows = 150_000 / columns
    let values = (0..<rows * columns).map { Float(($0 * 7919) % 2001 - 1000) / 512 }
    let weight = try Weight(values, rows: rows, columns: columns)
    let converter = try WeightConverter(rows: rows, columns: columns, to: target)
    #expect(converter.pieces.flatMap { Array($0) } == Array(0..<rows))
    #expect(converter.pieces.count > 1)
    for piece in converter.pieces.reversed() {
      converter.convert(piece) { weight.decode(row: $0, into: $1) }
    }
    let backwards = try converter.finish().floats()
    #expect(try bits(weight.converted(to: target).floats()) == bits(backwards))
    let largest = zip(values, backwards).map { abs($0 - $1) }.max() ?? .infinity
    switch target {
    case .f32: #expect(largest == 0)
    case .bf16: #expect(largest <= 0x1p-8)
    case .int8: #expect(largest <= 1.01 * 1000 / 512 / 254)
    case .nf4: #expect(largest <= 0.4 * 1000 / 512)
    }
  }

  @Test func roundsToHalf() {
    let values: [Float] = [
      0, -0.0, 1, 65504, 65519.99, 65520, -1e9, 0x1p-14, 0x1p-24, 0x1.8p-25, 0x1p-25, 0x1.000002p-25,
      1.0009765,
      0x1.002p0, 0x1.006p0, 0x1.FFFp-15, .infinity, 3.14159, -6.1e-5, 0x1.FF8p-15, 0x1.FFFFp-15,
    ]
    var halves = [UInt16](repeating: 0, count: values.count)
    sw_encode(values, Int64(values.count), SW_W_F16, &halves)
    let expected: [UInt16] = [
      0x0000, 0x8000, 0x3C00, 0x7BFF, 0x7BFF, 0x7C00, 0xFC00, 0x0400, 0x0001, 0x0001, 0x0000, 0x0001, 0x3C01,
      0x3C00, 0x3C02, 0x0400, 0x7C00, 0x4248, 0x83FF, 0x03FF, 0x0400,
    ]
    #expect(halves == expected)
  }

  /// Every half decodes to itself.
  @Test func roundTripsHalves() throws {
    let halves = (UInt16.min...UInt16.max).filter { $0 & 0x7C00 != 0x7C00 || $0 & 0x3FF == 0 }
    let buffer = try Buffer(count: 2 * halves.count)
    buffer.pointer().update(from: halves, count: halves.count)
    let floats = Weight(layout: Weight.layout(.f16, 1, halves.count, buffer.base), owner: buffer).floats()
    var back = [UInt16](repeating: 0, count: halves.count)
    sw_encode(floats, Int64(floats.count), SW_W_F16, &back)
    #expect(back == halves)
    #expect(floats[1] == 0x1p-24 && floats[0x3C00] == 1)
  }
}
