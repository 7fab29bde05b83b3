import Basics

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Whether there is a file (not a folder) at `path`.
func isFile(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}

/// A file that appears under its name whole or not at all: written beside it, then renamed.
final class AtomicFile {
  let path: String
  private let temporaryPath: String
  private let descriptor: Int32
  private var isCommitted = false

  /// - Throws: `.unwritable`.
  init(path: String) throws(SwiftletError) {
    self.path = path
    temporaryPath = "\(path).\(getpid()).tmp"
    descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.unwritable(path) }
  }

  /// Writes at byte `offset`; parts may come in any order.
  func write(_ bytes: RawSpan, at offset: Int) throws(SwiftletError) {
    var done = 0
    while done < bytes.byteCount {
      let rest = bytes.extracting(droppingFirst: done)
      let written = rest.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset + done))
      }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else { throw Self.unwritable(path) }
      done += written
    }
  }

  /// Puts the file in place once its bytes are on disk.
  func commit() throws(SwiftletError) {
    guard fsync(descriptor) == 0, rename(temporaryPath, path) == 0 else { throw Self.unwritable(path) }
    isCommitted = true
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    if descriptor >= 0 && !isCommitted { unlink(temporaryPath) }
  }

  private static func unwritable(_ path: String) -> SwiftletError {
    SwiftletError(.unwritable, "\(path): cannot write the file: \(String(cString: strerror(errno)))")
  }
}
