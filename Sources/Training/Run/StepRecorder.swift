import Compute

/// Runs the same operations again and again: where the backend can, they are recorded the first time and started as one
/// from then on.
final class StepRecorder {
  private let backend: any Backend
  private var recording: (any Recording)?
  private var isTried = false

  init(on backend: any Backend) { self.backend = backend }

  /// - Parameter body: runs the same steps on the same memory each time.
  func run(_ body: () throws -> Void) throws {
    if !isTried {
      recording = try backend.record(body)
      isTried = true
    }
    if let recording { recording.start() } else { try body() }
  }
}
