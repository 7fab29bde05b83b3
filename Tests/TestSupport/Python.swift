import Foundation

/// Python, if this machine has one with some packages: `SWIFTLET_PYTHON`, or else `python3` on PATH.
public enum Python {
  /// Whether it can import all of these.
  public static func has(_ modules: String...) -> Bool {
    let names = modules.map { "'\($0)'" }.joined(separator: ", ")
    let script = "import importlib.util as u; exit(not all(map(u.find_spec, [\(names)])))"
    return (try? run(["-c", script]).status) == 0
  }

  /// Runs a script of Tests/Interop.
  public static func interop(
    _ name: String, _ arguments: [String]
  ) throws -> (status: Int32, output: String) {
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Interop/\(name)")
      .path
    return try run([script] + arguments)
  }

  private static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [ProcessInfo.processInfo.environment["SWIFTLET_PYTHON"] ?? "python3"] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
  }
}
