import Swiftlet

// To Swift `stdout` is a variable, though nobody sets it. Foundation, which imports it otherwise, must stay out.
#if canImport(Glibc)
  @preconcurrency import Glibc
#else
  @preconcurrency import Darwin
#endif

extension Terminal {
  /// Sees that all results were written. A reader that went away, as `head` does, wanted no more.
  ///
  /// - Throws: `.unwritable` when they were not: the disk is full, say.
  static func checkOutput() throws(SwiftletError) {
    fflush(stdout)
    guard ferror(stdout) != 0 else { return }
    var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
    let isAbandoned = poll(&output, 1, 0) > 0 && output.revents & Int16(POLLERR) != 0
    guard isAbandoned else {
      throw SwiftletError(
        .unwritable, "the result could not be written to standard output and is not complete",
        remedy: "The disk may be full.")
    }
  }
}
