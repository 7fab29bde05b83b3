import Foundation

/// The built program, run as a user runs it.
struct Program {
  /// Beside the tests' own executable.
  static let path = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appending(path: "swiftlet").path

  struct Result {
    var code: Int32
    var output: String
    var errors: String
  }

  let process = Process()
  private let output = Pipe()
  private let errors = Pipe()

  /// Starts the program.
  init(_ arguments: [String], in folder: String) throws {
    process.executableURL = URL(filePath: Self.path)
    process.arguments = arguments
    process.currentDirectoryURL = URL(filePath: folder)
    process.environment = ["XDG_CACHE_HOME": folder + "/cache", "PATH": "/usr/bin:/bin"]
    (process.standardOutput, process.standardError) = (output, errors)
    process.standardInput = FileHandle.nullDevice
    try process.run()
  }

  /// The first line of standard output, as soon as it is there.
  func firstLine() -> String {
    var bytes: [UInt8] = []
    while let byte = try? output.fileHandleForReading.read(upToCount: 1)?.first, byte != 0x0A {
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Stops reading what the program says, as `head` does.
  func closeErrors() throws { try errors.fileHandleForReading.close() }

  /// Waits for the end. What was closed reads as nothing.
  func finish() -> Result {
    let text = { (pipe: Pipe) in
      String(decoding: (try? pipe.fileHandleForReading.readToEnd()) ?? Data(), as: UTF8.self)
    }
    let (output, errors) = (text(output), text(errors))
    process.waitUntilExit()
    return Result(code: process.terminationStatus, output: output, errors: errors)
  }

  static func run(_ arguments: String..., in folder: String) throws -> Result {
    try Program(arguments, in: folder).finish()
  }
}
