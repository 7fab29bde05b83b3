#if Server
  import Foundation
  import Swiftlet
  import TestSupport
  import Testing

  /// The built `swiftlet serve`, a small model, and a client that others made.
  struct ClientTests {
    @Test(.enabled(if: Python.has("openai"), "SKIPPED: needs Python with openai (SWIFTLET_PYTHON)"))
    func openAIsClientIsContent() throws {
      let folder = try TemporaryFolder()
      let model = try TinyModel.write(to: folder)
      let server = try Served(
        ["--model", model, "--served-model-name", "tiny", "--api-key", "secret"], in: folder)
      defer { server.process.terminate() }
      let (status, output) = try Python.interop("../Server/openai_client.py", [server.url, "secret"])
      #expect(status == 0, "\(output)")
      print(output, terminator: "")
    }

    /// A signal ends the server, but not the answer that it is giving.
    @Test func finishesAnswersBeforeItStops() throws {
      let folder = try TemporaryFolder()
      let server = try Served(["--model", try TinyModel.write(to: folder)], in: folder)
      let client = Process()
      client.executableURL = URL(filePath: "/usr/bin/env")
      let body = #"{"prompt": "a", "max_tokens": 200, "stream": true, "ignore_eos": true}"#
      client.arguments = [
        "curl", "-sN", "\(server.url)/v1/completions", "-H", "Content-Type: application/json", "-d", body,
      ]
      let pipe = Pipe()
      client.standardOutput = pipe
      try client.run()
      var output = pipe.fileHandleForReading.availableData
      server.process.terminate()
      output += pipe.fileHandleForReading.readDataToEndOfFile()
      server.process.waitUntilExit()
      #expect(String(decoding: output, as: UTF8.self).hasSuffix("data: [DONE]\n\n"))
      #expect(server.process.terminationStatus == 0)
    }

    @Test func saysWhatItCannotDo() throws {
      let folder = try TemporaryFolder()
      let model = try TinyModel.write(to: folder)
      let server = try Served(["--model", model], in: folder)
      defer { server.process.terminate() }
      let port = try #require(server.url.split(separator: ":").last)
      for (arguments, complaint) in [
        (["--model", model, "--port", String(port)], "cannot listen"),
        (["--model", model, "--adapter", "a=/nowhere"], "nowhere"),
        (["--model", model, "--adapter", "tiny=/x", "--served-model-name", "tiny"], "two models are called"),
        (["--model", model, "--api-key-file", "/nowhere"], "nowhere"),
        (["--model", "nothing"], "no model 'nothing'"),
      ] {
        let failed = Process()
        let errors = Pipe()
        failed.executableURL = Served.binary
        failed.arguments = ["serve", "--device", "cpu"] + arguments
        failed.standardError = errors
        try failed.run()
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        failed.waitUntilExit()
        #expect(failed.terminationStatus == 1 && said.contains(complaint), "\(said)")
      }
    }
  }

  /// `swiftlet serve` as users run it, on a port that is free.
  private struct Served {
    let process = Process()
    let url: String

    /// Beside the tests' own binary.
    static var binary: URL {
      URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "swiftlet")
    }

    init(_ arguments: [String], in folder: TemporaryFolder) throws {
      process.executableURL = Self.binary
      process.arguments = ["serve", "--port", "0", "--device", "cpu"] + arguments
      let errors = Pipe()
      process.standardError = errors
      process.standardInput = FileHandle.nullDevice
      try process.run()
      var said = ""
      while !said.contains("Ctrl-C") {
        let data = errors.fileHandleForReading.availableData
        guard !data.isEmpty else { throw SwiftletError(.unavailable, said) }
        said += String(decoding: data, as: UTF8.self)
      }
      url = try #require(said.firstMatch(of: /http:\/\/127\.0\.0\.1:\d+/).map { String($0.output) })
    }
  }
#endif
