import Basics
import Foundation
import Testing

@testable import Text

@Suite struct DatasetFileTests {
  private func file(_ text: String, _ kind: DataFile.Kind) throws -> DataFile {
    try DataFile(path: "data.x", kind: kind, bytes: Data(text.utf8))
  }

  private func rows(_ text: String, _ kind: DataFile.Kind) throws -> [JSON] {
    let file = try file(text, kind)
    return try (0..<file.count).map { .object(try file.row($0)) }
  }

  @Test(arguments: [
    // Blank lines, CRLF, a byte-order mark, no line break at the end.
    ("{\"a\":1}\n{\"a\":\"x\\ny\"}\n", DataFile.Kind.jsonLines),
    ("\u{FEFF}{\"a\":1}\r\n\r\n  \n{\"a\":\"x\\ny\"}", .jsonLines),
    ("[{\"a\":1},{\"a\":\"x\\ny\"}]", .json),
    ("\u{FEFF} [\n {\"a\": 1} ,\n {\"a\": \"x\\ny\"}\n]\n", .json),
    (#"{"version":{"data":[1]},"data":[{"a":1},{"a":"x\ny"}],"n":"]"}"#, .json),
    // JSON Lines under the name .json.
    ("{\"a\":1}\n{\"a\":\"x\\ny\"}\n", .json),
  ])
  func readsJSON(text: String, kind: DataFile.Kind) throws {
    #expect(try rows(text, kind) == [["a": 1], ["a": "x\ny"]])
  }

  @Test(arguments: [
    ("a,b\n1,2\n", [["1", "2"]]),
    ("\u{FEFF}a,b\r\n1,2\r\n3,4", [["1", "2"], ["3", "4"]]),
    ("a,b\n\"x,\ny\",\"say \"\"hi\"\"\"\n", [["x,\ny", "say \"hi\""]]),
    ("a,b\n\"\",\n\n\"\"\"\"\"\",\"\r\n\"\n", [["", ""], ["\"\"", "\r\n"]]),
    ("a,b\n\"x\"\"\ny\",2\n3,4", [["x\"\ny", "2"], ["3", "4"]]),
    // A quote inside an unquoted field is text, doubled or not.
    ("a,b\n5\"\" disk,x\"y\n7,8\n", [["5\"\" disk", "x\"y"], ["7", "8"]]),
    ("\"a\",\"b\"\nÄ,🙂", [["Ä", "🙂"]]),
  ])
  func readsCSV(text: String, expected: [[String]]) throws {
    let expected = expected.map { ["a": .string($0[0]), "b": .string($0[1])] as JSON }
    #expect(try rows(text, .csv) == expected)
    // The same with tabs, where no field holds a comma.
    if !text.contains("x,\ny") { #expect(try rows(text.replacing(",", with: "\t"), .tsv) == expected) }
  }

  @Test(arguments: [
    ("{\"a\":1}\n\n{\"a\" 2}\n", DataFile.Kind.jsonLines, "line 3, column 6: expected ':'"),
    ("{\"a\":1}\n{\"a\":\"x\n", .jsonLines, "line 2, column 8: a string does not end"),
    ("{\"a\":1}\n[1]\n", .jsonLines, "line 2: a row must be an object"),
    ("[{\"a\":1},\n {\"a\":1,\n  \"b\":x}]", .json, "line 3, column 7: expected a value"),
    ("[{\"a\":1},]", .json, "line 1, column 10: expected a value"),
    ("[{\"a\":1},\n{\"a\":1}", .json, "line 1: this '[' is never closed"),
    ("[{\"a\":1},\n{\"a\":[1]", .json, "line 2: a bracket of this row is never closed"),
    ("{\"rows\":[{\"a\":1}]}", .json, "line 1: an object without an array \"data\""),
    ("[{\"a\":1}]\n[{\"a\":1}]", .json, "line 2: expected the end of the file"),
    ("a,b\n1,2\n3\n", .csv, "line 3: 1 fields, but the header names 2 columns"),
    ("a,b\n\"1\n\",\"2\n", .csv, "line 3: a quote opens here and is never closed"),
    ("a,b\n\"1\"x,2\n", .csv, "line 2: text follows a closing quote"),
    ("a,b,a\n1,2,3\n", .csv, "line 1: the header names the column \"a\" twice"),
  ])
  func namesThePlace(text: String, kind: DataFile.Kind, expected: String) {
    #expect {
      _ = try rows(text, kind)
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .malformedFile && error?.message.hasPrefix("data.x") == true
        && error?.message.contains(expected) == true
    }
  }

  @Test(arguments: ["", "\n", "[]", "{\"data\":[]}", "a,b\n"])
  func readsFilesWithoutRows(text: String) throws {
    let kind: DataFile.Kind = text.contains(",") ? .csv : text.contains("[") ? .json : .jsonLines
    #expect(try rows(text, kind).isEmpty)
  }

  @Test func refusesWhatItCannotRead() throws {
    let folder = try TemporaryFolder()
    let utf16 = folder.path("a.csv")
    try Data([0xFF, 0xFE, 0x61, 0]).write(to: URL(filePath: utf16))
    for (path, code) in [
      (utf16, SwiftletError.Code.unsupported), (folder.path("a.parquet"), .unsupported),
      (folder.path("none.jsonl"), .unreadable),
    ] {
      #expect { try DataFile(path: path) } throws: { ($0 as? SwiftletError)?.code == code }
    }
  }
}
