import Foundation

/// Comma- or tab-separated values after RFC 4180: quoted fields may hold separators, line breaks and doubled
/// quotes; lines end in LF or CRLF. A quote inside an unquoted field is text.
struct CSV {
  let separator: UInt8

  private static let quote = UInt8(ascii: "\"")

  /// The bytes of each record, without its line break. Empty lines are no records.
  func records(of bytes: Span<UInt8>, from start: Int) throws(RowScanner.Problem) -> [Range<Int>] {
    var records: [Range<Int>] = []
    var first = start
    /// Where the quote stands that is open now, and the last one that closed.
    var opened: Int?
    var closed: Int?
    var fieldStarts = true
    for at in start..<bytes.count {
      let byte = bytes[at]
      if opened != nil {
        if byte == Self.quote { (opened, closed) = (nil, at) }
      } else if byte == Self.quote, fieldStarts || closed == at - 1 {
        // At a field's start, or the second of a doubled quote, which goes on with the field.
        opened = at
      } else if byte == 0x0A {
        append(first..<at, of: bytes, to: &records)
        first = at + 1
      }
      fieldStarts = opened == nil && (byte == separator || byte == 0x0A)
    }
    if let opened { throw RowScanner.Problem(offset: opened, what: "a quote opens here and is never closed") }
    append(first..<bytes.count, of: bytes, to: &records)
    return records
  }

  private func append(_ range: Range<Int>, of bytes: Span<UInt8>, to records: inout [Range<Int>]) {
    var end = range.upperBound
    if end > range.lowerBound, bytes[end - 1] == 0x0D { end -= 1 }
    if end > range.lowerBound { records.append(range.lowerBound..<end) }
  }

  /// The fields of one record that begins at byte `offset` of its file.
  func fields(of record: Data, at offset: Int) throws(RowScanner.Problem) -> [String] {
    let bytes = record.span
    var fields: [String] = []
    var at = 0
    repeat {
      var field: [UInt8] = []
      let start = at
      if at < bytes.count, bytes[at] == Self.quote {
        at += 1
        while at < bytes.count {
          if bytes[at] == Self.quote {
            at += 1
            guard at < bytes.count, bytes[at] == Self.quote else { break }
          }
          field.append(bytes[at])
          at += 1
        }
        guard at == bytes.count || bytes[at] == separator else {
          throw RowScanner.Problem(offset: offset + at, what: "text follows a closing quote")
        }
      } else {
        while at < bytes.count, bytes[at] != separator {
          field.append(bytes[at])
          at += 1
        }
      }
      guard let text = String(validating: field, as: UTF8.self) else {
        throw RowScanner.Problem(offset: offset + start, what: "field \(fields.count + 1) is not UTF-8")
      }
      fields.append(text)
      at += 1
    } while at <= bytes.count
    return fields
  }

  /// A column must be told from the others by its name.
  static func check(header: [String]) throws(RowScanner.Problem) {
    var seen: Set<String> = []
    for name in header where !seen.insert(name).inserted {
      throw RowScanner.Problem(offset: 0, what: "the header names the column \"\(name)\" twice")
    }
  }
}
