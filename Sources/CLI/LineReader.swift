import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Reads what a user types: with editing and a history where the system has a library for it, plainly elsewhere.
struct LineReader {
  private typealias ReadLine = @convention(c) (UnsafePointer<CChar>) -> UnsafeMutablePointer<CChar>?
  private typealias AddHistory = @convention(c) (UnsafePointer<CChar>) -> Int32

  private let editing: (read: ReadLine, remember: AddHistory)?

  init() { editing = Terminal.output.isInteractive && isatty(STDIN_FILENO) == 1 ? Self.findLibrary() : nil }

  /// libedit's or readline's functions, which have one signature.
  private static func findLibrary() -> (read: ReadLine, remember: AddHistory)? {
    for name in ["libedit.so.2", "libreadline.so.8", "libedit.3.dylib"] {
      guard let library = dlopen(name, RTLD_LAZY), let read = dlsym(library, "readline"),
        let remember = dlsym(library, "add_history")
      else { continue }
      return (unsafeBitCast(read, to: ReadLine.self), unsafeBitCast(remember, to: AddHistory.self))
    }
    return nil
  }

  /// What the user says next, without spaces around it; nil at the end of the input. A line that ends in a backslash goes on in the next;
  /// three quotation marks begin and end a text of many lines.
  func read(_ prompt: String) -> String? {
    guard var text = line(prompt) else { return nil }
    if text.hasPrefix("\"\"\"") {
      text.removeFirst(3)
      while !text.hasSuffix("\"\"\""), let next = line("… ") { text += "\n" + next }
      if text.hasSuffix("\"\"\"") { text.removeLast(3) }
    } else {
      while text.hasSuffix("\\"), let next = line("… ") {
        text.removeLast()
        text += "\n" + next
      }
    }
    let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
    // A space before a slash: it is said, not a command.
    return text.hasPrefix(" ") && trimmed.hasPrefix("/") ? " " + trimmed : trimmed
  }

  private func line(_ prompt: String) -> String? {
    guard let editing else {
      if Terminal.output.isInteractive {
        print(Terminal.output.styled(prompt, .bold), terminator: "")
        fflush(nil)
      }
      return readLine()
    }
    guard let typed = editing.read(prompt) else {
      print()
      return nil
    }
    defer { free(typed) }
    if typed.pointee != 0 { _ = editing.remember(typed) }
    return String(cString: typed)
  }
}

/// Ctrl-C while something runs that it should end, rather than the program.
struct Interrupt {
  private let source: any DispatchSourceSignal
  private let flag = Flag()

  private final class Flag: Sendable {
    let isSet = Atomic(false)
  }

  var came: Bool { flag.isSet.load(ordering: .relaxed) }

  init() {
    signal(SIGINT, SIG_IGN)
    source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
    let flag = flag
    source.setEventHandler { flag.isSet.store(true, ordering: .relaxed) }
    source.resume()
  }

  func end() {
    source.cancel()
    signal(SIGINT, SIG_DFL)
  }
}
