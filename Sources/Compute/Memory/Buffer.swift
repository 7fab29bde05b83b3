import Basics

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A block of memory, on the heap or on a device, freed with its last reference. Its contents start undefined.
///
/// `Sendable` because it only hands out addresses: whoever writes through them sees to it that no one reads or
/// writes the same bytes meanwhile.
public final class Buffer: @unchecked Sendable {
  /// Start of the memory, on a 64-byte boundary: a cache line, and AVX-512's widest load.
  public let base: UnsafeMutableRawPointer
  /// Size in bytes.
  public let count: Int
  private let release: (UnsafeMutableRawPointer) -> Void

  private static let hugePage = 2 << 20

  /// Memory on the heap.
  ///
  /// - Throws: `.outOfMemory` when the system has no `count` bytes.
  public init(count: Int) throws(SwiftletError) {
    precondition(count >= 0)
    var pointer: UnsafeMutableRawPointer?
    let isLarge = count >= 4 * Self.hugePage
    guard posix_memalign(&pointer, isLarge ? Self.hugePage : 64, max(count, 1)) == 0, let pointer else {
      throw SwiftletError(.outOfMemory, "cannot allocate \(count) bytes")
    }
    #if os(Linux)
      // Arenas are touched from end to end: a five-hundredth of the page faults, and of the address look-ups.
      if isLarge { madvise(pointer, count, MADV_HUGEPAGE) }
    #endif
    self.base = pointer
    self.count = count
    release = { free($0) }
  }

  /// Memory that a device gave: `base` is an address of the device's.
  init(base: UnsafeMutableRawPointer, count: Int, release: @escaping (UnsafeMutableRawPointer) -> Void) {
    self.base = base
    self.count = count
    self.release = release
  }

  /// The elements of a buffer on the heap at byte `offset`, which must be a multiple of `T`'s alignment.
  public func pointer<T: BitwiseCopyable>(
    to type: T.Type = T.self, at offset: Int = 0
  ) -> UnsafeMutablePointer<T> {
    (base + offset).assumingMemoryBound(to: type)
  }

  deinit { release(base) }
}
