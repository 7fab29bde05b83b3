import Foundation

extension Jinja {
  /// The functions that every chat template sees.
  enum Globals {
    static var all: [String: Value] {
      var globals: [String: Value] = [:]
      for function in [
        Function("raise_exception", raise), Function("strftime_now", formatNow), Function("range", range),
        Function("dict", dict), Function("namespace", namespace), Function("cycler", cycler),
        Function("joiner", joiner),
      ] {
        globals[function.name] = .function(function)
      }
      return globals
    }

    private static func raise(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      throw Failure(try arguments.bound(to: ["message"], in: "raise_exception").value(0).text())
    }

    /// The clock's time, in the time zone of the machine, as C's `strftime` writes it.
    private static func formatNow(
      _ interpreter: Interpreter, _ arguments: CallArguments
    ) throws(Failure) -> Value {
      let format = try arguments.bound(to: ["format"], in: "strftime_now").string(0)
      var seconds = time_t(interpreter.clock().timeIntervalSince1970)
      var parts = tm()
      localtime_r(&seconds, &parts)
      // No directive writes more than some 40 bytes; strftime says 0 both for an empty text and for too small
      // a buffer, so a mark is written in front.
      try Limits.check(text: format.utf8.count, times: 40)
      var buffer = [CChar](repeating: 0, count: 64 + format.utf8.count * 40)
      let written = strftime(&buffer, buffer.count, "#" + format, &parts)
      return .string(
        String(decoding: buffer[..<written].dropFirst().map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    private static func range(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let bound = try arguments.bound(to: ["start", "stop", "step"], required: 1, in: "range")
      let single = bound[1] == nil
      let (start, stop) = single ? (0, try bound.int(0)) : (try bound.int(0), try bound.int(1))
      let step = try bound.int(2, else: 1)
      if step == 0 { throw Failure("range() arg 3 must not be zero") }
      let numbers = stride(from: start, to: stop, by: step)
      let distance = Double(stop) - Double(start)
      if distance / Double(step) > Double(Limits.range) {
        throw Failure("range() of more than \(Limits.range) items")
      }
      return .list(numbers.map { .int($0) })
    }

    private static func dict(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let dict = Dict()
      try dict.update(with: arguments)
      return .dict(dict)
    }

    private static func namespace(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let members = Dict()
      try members.update(with: arguments)
      let namespace = Namespace()
      for entry in members.entries { namespace.attributes[try entry.key.text()] = entry.value }
      return .namespace(namespace)
    }

    /// An object whose `next()` gives its items in turn; `current` is the one that comes next.
    private static func cycler(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let items = arguments.positional
      guard let first = items.first else { throw Failure("cycler() needs at least one item") }
      let cycler = Namespace(["current": first])
      var place = 0
      cycler.attributes["next"] = .function(
        Function("next") { [unowned cycler] _, _ in
          let item = items[place]
          place = (place + 1) % items.count
          cycler.attributes["current"] = items[place]
          return item
        })
      cycler.attributes["reset"] = .function(
        Function("reset") { [unowned cycler] _, _ in
          place = 0
          cycler.attributes["current"] = first
          return .null
        })
      return .namespace(cycler)
    }

    /// A function that gives nothing when it is first called and the separator from then on.
    private static func joiner(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let separator = try arguments.bound(to: ["sep"], in: "joiner")[0] ?? .string(", ")
      var used = false
      return .function(
        Function("joiner") { _, _ in
          defer { used = true }
          return used ? separator : .string("")
        })
    }
  }
}
