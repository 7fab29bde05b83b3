#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

extension SwiftletError {
  /// A file that could not be read, with the system's reason, which Foundation does not pass on.
  public static func unreadable(_ path: String) -> SwiftletError {
    let reason = access(path, R_OK) == 0 ? "" : ": " + String(cString: strerror(errno))
    return SwiftletError(
      .unreadable, "\(path): cannot be read\(reason)",
      remedy: "Check the path and that you may read the file.")
  }
}
