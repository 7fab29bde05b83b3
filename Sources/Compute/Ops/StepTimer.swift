/// Adds up how long the operations of steps take, by the name of the `Step` method. Steps are not recorded while
/// there is one, and each operation is waited for.
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

  /// Forgets what was measured: first calls load kernels and choose algorithms.
  public func clear() { entries = [:] }

  func measure(_ operation: StaticString, on backend: any Backend, _ body: () -> Void) {
    // What failed is told by the step's end.
    let elapsed = ContinuousClock().measure {
      body()
      try? backend.synchronize()
    }
    let name = "\(operation)".prefix { $0 != "(" }
    var entry = entries[String(name)] ?? Entry(operation: String(name))
    entry.seconds += elapsed / .seconds(1)
    entry.calls += 1
    entries[String(name)] = entry
  }
}
