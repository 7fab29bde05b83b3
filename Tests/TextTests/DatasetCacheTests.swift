import Basics
import Foundation
import Synchronization
import Testing

@testable import Text

@Suite struct DatasetCacheTests {
  private let key = SHA256.hash("key".utf8)

  @Test(arguments: [[Int](), [2], [3, 5, 7], [8, 8, 1000]])
  func keepsWhatItStored(lengths: [Int]) throws {
    let folder = try TemporaryFolder()
    var dataset = TokenizedDataset(lengths: lengths)
    dataset.statistics.dropped = 4
    dataset.statistics.empty = 1
    let cache = try DatasetCache(folder: folder.path("new/cache"), key: key)
    #expect(cache.load() == nil)
    try cache.store(dataset)
    #expect(cache.load() == dataset)
    try cache.store(dataset)
    #expect(cache.load() == dataset)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path("new/cache")).count == 1)
    // The same name, but another key behind the part of it that the name shows.
    var other = key
    other[31] ^= 1
    #expect(try DatasetCache(folder: folder.path("new/cache"), key: other).load() == nil)
  }

  @Test func noticesAnyDamage() throws {
    let folder = try TemporaryFolder()
    let cache = try DatasetCache(folder: folder.path(""), key: key)
    let dataset = TokenizedDataset(lengths: [3, 5, 9])
    try cache.store(dataset)
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: folder.path("")).first)
    let url = URL(filePath: folder.path(name))
    let whole = try Data(contentsOf: url)
    for at in whole.indices {
      var damaged = whole
      damaged[at] ^= 0x10
      try damaged.write(to: url)
      #expect(cache.load() == nil, "byte \(at)")
    }
    for count in [0, 7, 8, 120, whole.count - 8, whole.count - 1] {
      try whole.prefix(count).write(to: url)
      #expect(cache.load() == nil)
    }
    try (whole + Data(count: 8)).write(to: url)
    #expect(cache.load() == nil)
    try whole.write(to: url)
    #expect(cache.load() == dataset)
  }

  @Test func refusesAFolderItCannotMake() throws {
    let folder = try TemporaryFolder()
    _ = try folder.file("a.csv", "a\n1\n")
    #expect {
      try DatasetCache(folder: folder.path("a.csv/cache"), key: key)
    } throws: {
      ($0 as? SwiftletError)?.code == .unwritable
    }
  }

  /// FIPS 180-4's examples, and every length around the edges of a block against Python's hashlib.
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    (String(repeating: "a", count: 55), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"),
    (String(repeating: "a", count: 64), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"),
    (String(repeating: "a", count: 1000), "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"),
  ])
  func hashesAsTheStandardSays(text: String, expected: String) {
    let hex = { (bytes: [UInt8]) in
      bytes.map { String(Int($0) + 0x100, radix: 16).dropFirst() }.joined()
    }
    #expect(hex(SHA256.hash(text.utf8)) == expected)
    var pieces = SHA256()
    for start in stride(from: 0, to: text.utf8.count, by: 37) {
      pieces.update(Array(text.utf8.dropFirst(start).prefix(37)))
    }
    #expect(hex(pieces.finish()) == expected)
  }

  @Test func addsPartsInOrder() throws {
    let sum = try inParallel(500, into: [Int]()) {
      $0 * $0
    } add: {
      $0.append($1)
    }
    #expect(sum == (0..<500).map { $0 * $0 })
    #expect {
      try inParallel(500, into: 0) { index throws(SwiftletError) in
        if index % 100 == 77 { throw SwiftletError(.invalidData, "\(index)") }
        return index
      } add: {
        $0 += $1
      }
    } throws: {
      "\($0)" == "77"
    }
  }
}
