import Basics
import Foundation

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

/// Creates a folder, and those above it, unless it is there.
///
/// - Throws: `.unwritable`.
func createFolder(_ path: String) throws(SwiftletError) {
  do { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) } catch {
    throw SwiftletError(.unwritable, "\(path): cannot create the folder: \(error.localizedDescription)")
  }
}

/// Writes a file whole or not at all.
///
/// - Throws: `.unwritable`.
func writeFile(_ bytes: [UInt8], to path: String) throws(SwiftletError) {
  let file = try AtomicFile(path: path)
  try file.write(bytes.span.bytes, at: 0)
  try file.commit()
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

  /// Makes the file at least so long; what nobody writes reads as zeros.
  func extend(to count: Int) throws(SwiftletError) {
    guard ftruncate(descriptor, off_t(count)) == 0 else { throw Self.unwritable(path) }
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
