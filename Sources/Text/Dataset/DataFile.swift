import Basics
import Foundation

/// The rows of a file as JSON objects, each with its place in the file.
///
/// The file is memory-mapped and only the byte range of each row is kept: a row is parsed when it is asked for,
/// so that rows can be read from several threads and a large file is never held twice.
public struct DataFile: Sendable {
  /// How rows stand in a file. The file's extension tells.
  public enum Kind: String, Sendable, CaseIterable {
    /// One object a line (`.jsonl`, `.ndjson`). A `.json` file that holds one object after another counts too.
    case jsonLines
    /// An array of objects, or an object whose member `data` is one (`.json`).
    case json
    /// RFC 4180 with a header line; every value is a string (`.csv`).
    case csv
    /// As `csv`, with tabs for commas (`.tsv`).
    case tsv
  }

  public let path: String
  public let kind: Kind
  let bytes: Data
  /// The bytes of each row in `bytes`.
  private let rows: [Range<Int>]
  /// The column names of a CSV file; empty for JSON, whose rows name their own.
  private let header: [String]

  /// Maps the file at `path` and finds its rows. Rows are not parsed yet: a malformed row throws when it is read.
  ///
  /// - Throws: `.unreadable` when there is no such file, `.unsupported` for another extension or UTF-16,
  ///   `.malformedFile` when the rows cannot be told apart (a quote or a bracket never closes).
  public init(path: String) throws(SwiftletError) {
    let kind = try Kind(path: path)
    guard let bytes = try? Data(contentsOf: URL(filePath: path), options: .alwaysMapped) else {
      throw SwiftletError.unreadable(path)
    }
    try self.init(path: path, kind: kind, bytes: bytes)
  }

  /// Rows of a file's contents; `path` only names them in errors.
  init(path: String, kind: Kind, bytes: Data) throws(SwiftletError) {
    if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
      throw SwiftletError(.unsupported, "\(path): is UTF-16", remedy: "Save the file as UTF-8.")
    }
    self.path = path
    self.bytes = bytes
    // Past a UTF-8 byte-order mark, which Excel writes.
    let start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    do {
      switch kind {
      case .jsonLines:
        (self.kind, rows, header) = (kind, RowScanner.lines(of: bytes.span, from: start), [])
      case .json:
        let found = try RowScanner.elements(of: bytes.span, from: start)
        (self.kind, rows, header) = (found.areLines ? .jsonLines : .json, found.rows, [])
      case .csv, .tsv:
        var records = try CSV(separator: kind.separator).records(of: bytes.span, from: start)
        let first = records.isEmpty ? nil : records.removeFirst()
        let header = try first.map { range throws(RowScanner.Problem) in
          try CSV(separator: kind.separator).fields(of: bytes[range], at: range.lowerBound)
        }
        try CSV.check(header: header ?? [])
        (self.kind, rows, self.header) = (kind, records, header ?? [])
      }
    } catch {
      throw SwiftletError(
        .malformedFile, "\(path), line \(Self.line(at: error.offset, in: bytes)): \(error.what)",
        remedy: error.remedy)
    }
  }

  /// The number of rows.
  public var count: Int { rows.count }

  /// Where row `index` stands, for people: `train.jsonl, line 17`.
  public func place(of index: Int) -> String {
    "\(path), line \(Self.line(at: rows[index].lowerBound, in: bytes))"
  }

  /// Row `index` as an object, columns in file order. A CSV value is a string.
  ///
  /// - Throws: `.malformedFile` with file, line and what is wrong.
  public func row(_ index: Int) throws(SwiftletError) -> JSON.Object {
    switch kind {
    case .csv, .tsv: try delimitedRow(index)
    case .json, .jsonLines: try jsonRow(index)
    }
  }

  private func jsonRow(_ index: Int) throws(SwiftletError) -> JSON.Object {
    let value: JSON
    do {
      value = try JSON(parsing: Array(bytes[rows[index]]))
    } catch {
      throw malformed(index)
    }
    guard let object = value.object else {
      throw SwiftletError(
        .malformedFile, "\(place(of: index)): a row must be an object like {\"text\": \"...\"}")
    }
    return object
  }

  /// The error of a row that is no JSON, with its line and column in the file: the row is parsed again behind as
  /// many line breaks and spaces as stand before it.
  private func malformed(_ index: Int) -> SwiftletError {
    let start = rows[index].lowerBound
    let line = Self.line(at: start, in: bytes)
    let column = start - (bytes[..<start].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0)
    let padding = [UInt8](repeating: 0x0A, count: line - 1) + [UInt8](repeating: 0x20, count: column)
    do {
      _ = try JSON(parsing: padding + bytes[rows[index]])
      preconditionFailure("a row that failed to parse parses behind white space")
    } catch {
      return SwiftletError(error.code, "\(path): \(error.message)", remedy: error.remedy)
    }
  }

  private func delimitedRow(_ index: Int) throws(SwiftletError) -> JSON.Object {
    let fields: [String]
    do {
      fields = try CSV(separator: kind.separator).fields(of: bytes[rows[index]], at: rows[index].lowerBound)
    } catch {
      throw SwiftletError(
        .malformedFile, "\(path), line \(Self.line(at: error.offset, in: bytes)): \(error.what)")
    }
    guard fields.count == header.count else {
      throw SwiftletError(
        .malformedFile,
        "\(place(of: index)): \(fields.count) fields, but the header names \(header.count) columns",
        remedy: "Put fields that hold the separator, a quote or a line break into quotes.")
    }
    return JSON.Object(uniqueKeysWithValues: zip(header, fields.lazy.map { JSON.string($0) }))
  }

  /// The line, counted from 1, that byte `offset` stands in.
  private static func line(at offset: Int, in bytes: Data) -> Int {
    bytes[..<offset].count(where: { $0 == 0x0A }) + 1
  }
}

extension DataFile.Kind {
  fileprivate init(path: String) throws(SwiftletError) {
    let name = URL(filePath: path).pathExtension.lowercased()
    switch name {
    case "jsonl", "ndjson": self = .jsonLines
    case "json": self = .json
    case "csv": self = .csv
    case "tsv": self = .tsv
    default:
      throw SwiftletError(
        .unsupported, "\(path): '.\(name)' is no data-set format known here",
        remedy: "Use .jsonl, .json, .csv or .tsv. A Parquet file is converted by Python's "
          + "pandas.read_parquet(a).to_json(b, orient=\"records\", lines=True).")
    }
  }

  fileprivate var separator: UInt8 { self == .tsv ? UInt8(ascii: "\t") : UInt8(ascii: ",") }
}
