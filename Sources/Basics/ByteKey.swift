/// A string that equals another when its bytes do. Swift's own strings compare by canonical equivalence, which takes
/// "é" and "e" with a combining accent for one.
public struct ByteKey: Sendable, Hashable {
  public let string: String

  public init(_ string: String) { self.string = string }

  public static func == (a: ByteKey, b: ByteKey) -> Bool {
    a.withBytes { a in b.withBytes { b in a.elementsEqual(b) } }
  }

  public func hash(into hasher: inout Hasher) {
    withBytes { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }

  private func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    var string = string
    return string.withUTF8(body)
  }
}
