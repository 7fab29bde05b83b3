import Dispatch
import Synchronization

/// Computes `count` parts on all cores and adds them to a value in the order of their indices.
///
/// When parts fail, the error of the one with the lowest index is thrown, as a loop would. Parts that wait for their
/// turn are few: indices are handed out in ascending order.
public func inParallel<Value: Sendable, Part: Sendable>(
  _ count: Int, into initial: Value,
  part: @Sendable (Int) throws(SwiftletError) -> Part,
  add: @Sendable (inout Value, Part) -> Void
) throws(SwiftletError) -> Value {
  let state = Mutex(OrderedSum<Value, Part>(value: initial))
  DispatchQueue.concurrentPerform(iterations: count) { index in
    if state.withLock({ $0.failure.map { $0.index < index } ?? false }) { return }
    do throws(SwiftletError) {
      let computed = try part(index)
      state.withLock { state in
        state.waiting[index] = computed
        while let ready = state.waiting.removeValue(forKey: state.next) {
          add(&state.value, ready)
          state.next += 1
        }
      }
    } catch {
      state.withLock { state in
        if state.failure.map({ index < $0.index }) ?? true { state.failure = (index, error) }
      }
    }
  }
  let end = state.withLock { $0 }
  if let failure = end.failure { throw failure.error }
  return end.value
}

/// The parts added so far and those that wait for one before them.
private struct OrderedSum<Value: Sendable, Part: Sendable>: Sendable {
  var value: Value
  var next = 0
  var waiting: [Int: Part] = [:]
  var failure: (index: Int, error: SwiftletError)?
}
