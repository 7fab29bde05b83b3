import Foundation
import Swiftlet
import TestSupport

/// The built `swiftlet`, run as users run it.
struct Binary {
  struct Result {
    let status: Int32
    let output: String
    let errors: String

    /// Standard output as one JSON value.
    func json() throws -> JSON { try JSON(parsing: output) }
    /// Standard output as a JSON value a line.
    func lines() throws -> [JSON] { try output.split(separator: "\n").map { try JSON(parsing: String($0)) } }
  }

  /// Working directory, and home of the caches.
  let folder: TemporaryFolder

  /// Beside the tests' own binary.
  static var url: URL {
    URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "swiftlet")
  }

  func callAsFunction(
    _ arguments: String..., input: String = "", environment: [String: String] = [:]
  ) throws -> Result {
    try run(arguments, input: input, environment: environment)
  }

  func run(
    _ arguments: [String], input: String = "", environment: [String: String] = [:],
    outputTo output: Any? = nil, errorsTo errors: Any? = nil, during: (Process) throws -> Void = { _ in }
  ) throws -> Result {
    let process = Process()
    process.executableURL = Self.url
    process.arguments = arguments
    process.currentDirectoryURL = URL(filePath: folder.path)
    process.environment = ["XDG_CACHE_HOME": folder.path + "/caches"].merging(environment) { $1 }
    try folder.write(input, "input")
    process.standardInput = try FileHandle(forReadingFrom: URL(filePath: folder.path + "/input"))
    // Files never fill up and block, as pipes do.
    for name in ["output", "errors"] { try folder.write("", name) }
    process.standardOutput = try output ?? FileHandle(forWritingTo: URL(filePath: folder.path + "/output"))
    process.standardError = try errors ?? FileHandle(forWritingTo: URL(filePath: folder.path + "/errors"))
    try process.run()
    try during(process)
    process.waitUntilExit()
    return Result(
      status: process.terminationStatus, output: try folder.text("output"), errors: try folder.text("errors"))
  }
}
