import Compute

/// One thing that a backend must do: an operation of the table, a property of a model, a recorded run.
public struct Check: Sendable {
  public let name: String
  private let body: @Sendable (any Backend, UInt64) throws -> [CheckFailure]

  init(_ name: String, _ body: @escaping @Sendable (any Backend, _ seed: UInt64) throws -> [CheckFailure]) {
    self.name = name
    self.body = body
  }

  /// - Parameter seed: of all random numbers.
  /// - Returns: what is wrong.
  public func run(on backend: any Backend, seed: UInt64) throws -> [CheckFailure] { try body(backend, seed) }

  /// What needs no files: operations in all their modes, then models.
  public static func all(for backend: any Backend) -> [Check] {
    OpCase.all.map(\.check)
      + ModelCase.all.flatMap { model in
        ModelCheck.allCases.filter { $0.applies(to: backend) }.map { model.check($0) }
      }
  }
}

extension OpCase {
  fileprivate var check: Check {
    Check(name) { backend, seed in
      let dtypes = dtypes.filter { $0 != .f64 || backend.hasHostMemory }
      let failures = try dtypes.flatMap { try checkReference(on: backend, $0, seed: seed) }
      guard hasGradients, backend.hasHostMemory else { return failures }
      return try failures + checkGradients(on: backend, seed: seed)
    }
  }
}

extension ModelCase {
  fileprivate func check(_ check: ModelCheck) -> Check {
    Check(name(of: check)) { backend, seed in
      Self.dtypes.compactMap { failure(check, on: backend, $0, seed: seed) }
    }
  }
}

extension ReferenceTrace {
  /// That a backend's losses are those of the run, in each type of products.
  public var checks: [Check] {
    Self.tolerances.map { dtype, tolerance in
      Check("reference trace in \(dtype)") { backend, _ in
        try failures(on: backend, dtype, tolerance: tolerance)
      }
    }
  }
}
