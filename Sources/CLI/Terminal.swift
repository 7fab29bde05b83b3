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
  let columns: Int

  /// Of standard error, where progress goes: standard output stays for results.
  static let progress = Terminal(descriptor: STDERR_FILENO)
  static let output = Terminal(descriptor: STDOUT_FILENO)

  private init(descriptor: Int32) {
    isInteractive = isatty(descriptor) == 1
    let environment = ProcessInfo.processInfo.environment
    // https://no-color.org
    hasColour = isInteractive && environment["NO_COLOR"] == nil && environment["TERM"] != "dumb"
    var size = winsize()
    let known = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    columns = known ? Int(size.ws_col) : 80
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

  /// Shows `done` of `total`, with `details` behind the bar as far as there is room.
  func show(_ title: String, done: Int, of total: Int, details: [String]) {
    let count = "\(done)/\(total)"
    if terminal.isInteractive {
      var tail = details
      while !tail.isEmpty,
        title.count + count.count + tail.joined(separator: "  ").count + 18 > terminal.columns
      {
        tail.removeLast()
      }
      let text = ([count] + tail).joined(separator: "  ")
      let room = max(0, min(30, terminal.columns - title.count - text.count - 6))
      let filled = total > 0 ? room * done / total : room
      let bar =
        room > 3
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

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}

/// "0:42", "1:02:03".
func clockText(_ seconds: Double) -> String {
  let whole = Int(seconds.isFinite ? seconds.rounded() : 0)
  let (minutes, rest) = (whole / 60, whole % 60)
  let padded = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
  return minutes >= 60
    ? "\(minutes / 60):\(padded(minutes % 60)):\(padded(rest))" : "\(minutes):\(padded(rest))"
}

/// A number with so many decimals.
func decimal(_ value: Double, _ places: Int) -> String { String(format: "%.\(places)f", value) }
