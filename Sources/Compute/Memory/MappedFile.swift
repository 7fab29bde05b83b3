import Basics

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A file's bytes, mapped read-only: pages come in as they are read and cost no memory of the process's own.
///
/// Reads are checked against the file's size. A file that another process cuts short while it is mapped ends
/// this process (SIGBUS), as with every mapping.
///
/// `Sendable` because nobody writes the mapping.
public final class MappedFile: @unchecked Sendable {
  public let path: String
  private let bytes: UnsafeRawBufferPointer

  /// - Throws: `.unreadable` when there is no such file, it is no regular file or may not be read;
  ///   `.malformedFile` when it is empty.
  public init(path: String) throws(SwiftletError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.unreadable(path, String(cString: strerror(errno))) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw Self.unreadable(path, String(cString: strerror(errno)))
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw Self.unreadable(path, "not a regular file") }
    guard status.st_size > 0 else { throw SwiftletError(.malformedFile, "\(path): the file is empty") }
    let size = Int(status.st_size)
    guard let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw Self.unreadable(path, String(cString: strerror(errno)))
    }
    self.path = path
    self.bytes = UnsafeRawBufferPointer(start: start, count: size)
  }

  private static func unreadable(_ path: String, _ reason: String) -> SwiftletError {
    SwiftletError(.unreadable, "\(path): cannot read the file: \(reason)")
  }

  /// Size in bytes.
  public var count: Int { bytes.count }

  /// The little-endian integer at byte `offset`, nil when it does not lie within the file.
  public func integer<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type = T.self) -> T?
  {
    guard contains(offset, MemoryLayout<T>.size) else { return nil }
    return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
  }

  /// A copy of `range`, nil when it does not lie within the file.
  public func copy(_ range: Range<Int>) -> [UInt8]? {
    contains(range.lowerBound, range.count) ? Array(bytes[range]) : nil
  }

  /// The text in `range`, nil when that does not lie within the file or is not UTF-8.
  public func text(_ range: Range<Int>) -> String? {
    guard contains(range.lowerBound, range.count) else { return nil }
    return String(validating: bytes[range], as: UTF8.self)
  }

  /// Calls `body` with the bytes of `range`, which must lie within the file.
  public func withBytes<Result, Failure>(
    _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(rebasing: bytes[range]))
  }

  /// The address of byte `offset`, valid as long as this object.
  public func address(_ offset: Int) -> UnsafeRawPointer {
    precondition(contains(offset, 0))
    return bytes.baseAddress.unsafelyUnwrapped + offset
  }

  /// Gives back the memory of `count` mapped bytes from `start` on. Who reads them again waits for the disk, or for
  /// the system's cache of it, and gets the same bytes.
  public func forget(_ start: UnsafeRawPointer, count: Int) {
    let offset = start - UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped)
    precondition(contains(offset, count))
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let first = offset / page * page
    madvise(UnsafeMutableRawPointer(mutating: address(first)), offset + count - first, MADV_DONTNEED)
  }

  private func contains(_ offset: Int, _ count: Int) -> Bool {
    offset >= 0 && offset <= bytes.count && count <= bytes.count - offset
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress.unsafelyUnwrapped), bytes.count) }
}
