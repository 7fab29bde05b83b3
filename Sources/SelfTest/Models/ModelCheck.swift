import Basics
import Compute

/// What is checked of every model.
public enum ModelCheck: String, Sendable, CaseIterable {
  /// Loss and gradients are those that the CPU computes in double precision.
  case gradients
  /// So are the losses and the gradients' norms of some updates, and of evaluations.
  case updates
  /// Sequences that share a row give what they give apart.
  case packing
  /// Gradients do not depend on what layers keep and where: bit for bit on the CPU, on a GPU within rounding.
  case checkpointing
  /// Recorded updates do what their operations do one by one, bit for bit.
  case replay
  /// Two runs are the same, bit for bit.
  case repetition

  /// Whether it can fail on `backend`: one that records nothing replays nothing.
  public func applies(to backend: any Backend) -> Bool { self != .replay || !backend.hasHostMemory }
}

extension ModelCase {
  /// Those that a model is checked in on any backend.
  public static let dtypes: [DType] = [.f32, .bf16]

  func name(of check: ModelCheck) -> String { "model \(name): \(check)" }

  /// Runs one check with fresh random numbers.
  ///
  /// - Parameter seed: of all numbers.
  /// - Returns: what is wrong; that a run failed, too.
  public func failure(
    _ check: ModelCheck, on backend: any Backend, _ dtype: DType, seed: UInt64
  ) -> CheckFailure? {
    var complaint: String?
    do { complaint = try self.complaint(check, on: backend, dtype, seed) } catch {
      complaint = "\(error)"
    }
    return complaint.map { CheckFailure(name(of: check), dtype, seed: seed, $0) }
  }

  private func complaint(
    _ check: ModelCheck, on backend: any Backend, _ dtype: DType, _ seed: UInt64
  ) throws -> String? {
    switch check {
    case .gradients: try checkGradients(on: backend, dtype, seed)
    case .updates: try checkUpdates(on: backend, dtype, seed)
    case .packing: try withoutDropout.checkPacking(on: backend, dtype, seed)
    case .checkpointing: try checkCheckpointing(on: backend, dtype, seed)
    case .replay: try checkReplay(on: backend, dtype, seed)
    case .repetition: try checkRepetition(on: backend, dtype, seed)
    }
  }
}
