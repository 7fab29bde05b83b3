import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// What the standard output is and can show.
struct Terminal {
  let isInteractive: Bool
  let hasColour: Bool
  private let descriptor: Int32

  /// The width, which may change while the program runs.
  var columns: Int {
    var size = winsize()
    let isKnown = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return isKnown ? Int(size.ws_col) : 80
  }

  /// Of standard error, where progress goes: standard output stays for results.
  static let progress = Terminal(descriptor: STDERR_FILENO)
  static let output = Terminal(descriptor: STDOUT_FILENO)

  private init(descriptor: Int32) {
    self.descriptor = descriptor
    isInteractive = isatty(descriptor) == 1
    let environment = ProcessInfo.processInfo.environment
    // https://no-color.org
    hasColour = isInteractive && environment["NO_COLOR"] == nil && environment["TERM"] != "dumb"
  }

  enum Style: String {
    case bold = "1"
    case dim = "2"
    case green = "32"
    case red = "31"
  }

  func styled(_ text: String, _ style: Style) -> String {
    hasColour ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
  }
}

/// One line that is drawn again and again on a terminal; elsewhere a line now and then.
final class ProgressLine {
  private let terminal = Terminal.progress
  private var lastPlain = ContinuousClock.now - .seconds(60)
  private var isDrawn = false
  private static let narrowestBar = 4

  /// Shows `done` of `total`, with `details` behind the bar as far as there is room.
  func show(_ title: String, done: Int, of total: Int, details: [String]) {
    let count = "\(done)/\(total)"
    if terminal.isInteractive {
      var parts = [count] + details
      func room() -> Int { terminal.columns - title.count - parts.joined(separator: "  ").count - 6 }
      while parts.count > 1, room() < Self.narrowestBar { parts.removeLast() }
      let text = parts.joined(separator: "  ")
      let room = max(0, min(30, room()))
      let filled = total > 0 ? room * done / total : room
      let bar =
        room >= Self.narrowestBar
        ? "[" + String(repeating: "=", count: filled) + String(repeating: " ", count: room - filled) + "] "
        : ""
      // A line that wraps cannot be drawn over.
      write("\r\u{1B}[K" + "\(title) \(bar)\(text)".prefix(max(0, terminal.columns - 1)))
      isDrawn = true
    } else if ContinuousClock.now - lastPlain > .seconds(10) || done == total {
      lastPlain = .now
      write(([title, count] + details).joined(separator: "  ") + "\n")
    }
  }

  /// Ends the line, so that other output can follow; the next `show` begins a new one.
  func leave(erasing: Bool = false) {
    guard isDrawn else { return }
    write(erasing ? "\r\u{1B}[K" : "\n")
    isDrawn = false
  }

  private func write(_ text: String) { writeToStandardError(text) }
}

/// Tells the user something that is no result.
func note(_ text: String) { writeToStandardError(text + "\n") }

/// A reader of standard error that went away must not end a run.
private func writeToStandardError(_ text: String) {
  try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
}

/// "0:42", "1:02:03".
func clockText(_ seconds: Double) -> String {
  let whole = Int(seconds.isFinite ? seconds.rounded() : 0)
  let (minutes, rest) = (whole / 60, whole % 60)
  let padded = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
  return minutes >= 60
    ? "\(minutes / 60):\(padded(minutes % 60)):\(padded(rest))" : "\(minutes):\(padded(rest))"
}

/// "1 step", "2 steps".
func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// A number with so many decimals.
func decimal(_ value: Double, _ places: Int) -> String { String(format: "%.\(places)f", value) }
