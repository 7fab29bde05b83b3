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

/// Calls a handler at the first Ctrl-C, or when the system asks the program to end; the second ends it as usual.
final class InterruptSignal {
  private static let signals = [SIGINT, SIGTERM]
  private let sources: [any DispatchSourceSignal]

  init(_ handler: @escaping @Sendable () -> Void) {
    sources = Self.signals.map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        signal(number, SIG_DFL)
        note("\nStopping after this micro-batch; Ctrl-C again to quit at once.")
        handler()
      }
      source.resume()
      return source
    }
  }

  func end() {
    for source in sources { source.cancel() }
    for number in Self.signals { signal(number, SIG_DFL) }
  }
}
