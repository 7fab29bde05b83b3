/// Adds up how long the operations of steps take, by the name of the `Step` method.
///
/// Meant for backends that work while the method runs, as the CPU does.
public final class StepTimer {
  public struct Entry: Sendable {
    public let operation: String
    public var seconds = 0.0
    public var calls = 0
  }

  private var entries: [String: Entry] = [:]

  public init() {}

  /// The operations, the longest first.
  public var report: [Entry] { entries.values.sorted { $0.seconds > $1.seconds } }

  func measure(_ operation: StaticString, _ body: () -> Void) {
    let elapsed = ContinuousClock().measure(body)
    let name = "\(operation)".prefix { $0 != "(" }
    var entry = entries[String(name)] ?? Entry(operation: String(name))
    entry.seconds += elapsed / .seconds(1)
    entry.calls += 1
    entries[String(name)] = entry
  }
}
