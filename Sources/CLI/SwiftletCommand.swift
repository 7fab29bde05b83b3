import ArgumentParser
import Foundation
import Swiftlet

@main
struct SwiftletCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swiftlet",
    abstract: "Fine-tunes large language models on one machine, and runs what it trained.",
    version: "0.1.0",
    subcommands: [
      TrainCommand.self, EvaluateCommand.self, GenerateCommand.self, ChatCommand.self, PlanCommand.self,
      MergeCommand.self,
      ExportCommand.self, DatasetCommand.self, KeysCommand.self, TokenizeCommand.self, RenderCommand.self,
      DoctorCommand.self,
      SelfTestCommand.self, BenchCommand.self,
    ] + serving)

  private static var serving: [any ParsableCommand.Type] {
    #if Server
      [ServeCommand.self]
    #else
      []
    #endif
  }

  static func main() {
    // A closed pipe is an error of the write, not a signal that ends the program.
    signal(SIGPIPE, SIG_IGN)
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      failure.report()
      Foundation.exit(failure.exitCode)
    } catch  where exitCode(for: error).isSuccess || !CommandLine.arguments.contains("--json") {
      exit(withError: error)
    } catch {
      let usage = SwiftletError(.invalidConfiguration, message(for: error))
      Failure(error: usage, asJSON: true).report()
      Foundation.exit(exitCode(for: error).rawValue)
    }
  }
}

/// An error on its way to the user.
struct Failure: Error {
  let error: any Error
  let asJSON: Bool

  /// 130 for an interruption, as shells have it; 1 for everything else.
  var exitCode: Int32 { (error as? SwiftletError)?.code == .interrupted ? 130 : 1 }

  func report() {
    let known = error as? SwiftletError
    if asJSON {
      let content: JSON = [
        "error": [
          "code": .string(known?.code.rawValue ?? "internal"),
          "message": .string(known?.message ?? "\(error)"),
          "remedy": known?.remedy.map { .string($0) } ?? nil,
        ]
      ]
      print(content.text())
    }
    note("error: \(known?.message ?? "\(error)")")
    if let remedy = known?.remedy { note(remedy) }
  }
}

/// A command that says what went wrong the way the user asked.
protocol ReportingCommand: ParsableCommand {
  var json: Bool { get }
  func execute() throws
}

extension ReportingCommand {
  func run() throws {
    do {
      try execute()
      try Terminal.checkOutput()
    } catch { throw Failure(error: error, asJSON: json) }
  }
}
