import ArgumentParser
import Dispatch
import Foundation
import Swiftlet

struct TrainCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fine-tunes a model as a configuration file says.")

  @OptionGroup var arguments: ConfigurationArguments
  @Flag(help: "Continue from the newest checkpoint in output_dir.") var resume = false
  @Flag(help: "Print every event as a line of JSON.") var json = false

  func execute() throws {
    var configuration = try arguments.load()
    if resume { configuration.resume = .newest }
    let display = RunDisplay(json: json)
    let trainer = try SFTTrainer(configuration) { display.preparing($0) }
    display.prepared(trainer)
    let interruption = InterruptSignal { trainer.interrupt() }
    defer { interruption.end() }
    do { _ = try trainer.runHere { display.show($0) } } catch {
      display.end()
      throw error
    }
  }
}

/// Calls a handler at the first Ctrl-C; the second ends the program as usual.
final class InterruptSignal {
  private let source: any DispatchSourceSignal

  init(_ handler: @escaping @Sendable () -> Void) {
    signal(SIGINT, SIG_IGN)
    source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
    source.setEventHandler {
      signal(SIGINT, SIG_DFL)
      FileHandle.standardError.write(
        Data("\nStopping after this micro-batch; Ctrl-C again to quit at once.\n".utf8))
      handler()
    }
    source.resume()
  }

  func end() {
    source.cancel()
    signal(SIGINT, SIG_DFL)
  }
}
