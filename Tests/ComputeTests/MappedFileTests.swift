import Foundation
import Testing

@testable import Compute

struct MappedFileTests {
  /// What is forgotten costs no memory and is read again all the same.
  @Test func forgetsAndReadsAgain() throws {
    let url = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    let bytes = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try Data(bytes).write(to: url)
    let file = try MappedFile(path: url.path)
    #expect(file.copy(0..<file.count) == bytes)
    #expect(try resident(url.path) == 1 << 20)
    // Neither end lies on a page's boundary.
    file.forget(file.address(100), count: file.count - 200)
    #expect(try resident(url.path) == 0)
    #expect(file.copy(0..<file.count) == bytes)
  }

  /// Bytes of the file in this process's memory (proc_pid_smaps(5)).
  private func resident(_ path: String) throws -> Int {
    let maps = try FileHandle(forReadingFrom: URL(filePath: "/proc/self/smaps")).readToEnd() ?? Data()
    let lines = String(decoding: maps, as: UTF8.self).split(separator: "\n")
    let entry = try #require(lines.firstIndex { $0.hasSuffix(path) })
    let line = try #require(lines[entry...].first { $0.hasPrefix("Rss:") })
    return (Int(line.filter(\.isNumber)) ?? 0) << 10
  }
}
