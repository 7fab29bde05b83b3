/// One run of model code: the only way to make tensors and to start operations.
///
/// The same code runs twice. Recording, a step notes sizes and lifetimes and starts nothing; running, the n-th
/// tensor takes the plan's n-th slot. Code must therefore take the same path both times: it may depend on
/// shapes, never on values.
///
/// All shapes and dtypes are checked here, in both runs; a backend may assume valid input.
public final class Step {
  public let backend: any Backend
  private var plan: Plan
  private let arena: Buffer?
  private let timer: StepTimer?
  private var made = 0
  private var operation = 0

  /// Records `body` and lays out its memory.
  public static func plan(on backend: any Backend, _ body: (Step) throws -> Void) rethrows -> Plan {
    let step = Step(backend: backend, plan: Plan(), arena: nil, timer: nil)
    try body(step)
    step.plan.operations = step.operation
    step.plan.layOut()
    return step.plan
  }

  /// Runs `body`, which `plan` was recorded from, in `arena`.
  ///
  /// - Parameter timer: told how long each operation takes.
  public static func run<Result>(
    _ plan: Plan, in arena: Buffer, on backend: any Backend, timer: StepTimer? = nil,
    _ body: (Step) throws -> Result
  ) rethrows -> Result {
    precondition(arena.count >= plan.bytes, "the arena is smaller than its plan")
    let step = Step(backend: backend, plan: plan, arena: arena, timer: timer)
    let result = try body(step)
    precondition(
      step.made == plan.slots.count && step.operation == plan.operations,
      "the step ran other code than its plan")
    return result
  }

  /// Plans `body` and runs it once in an arena of its own.
  public static func runOnce<Result>(
    on backend: any Backend, _ body: (Step) throws -> Result
  ) throws -> Result {
    let plan = try plan(on: backend) { _ = try body($0) }
    return try run(plan, in: backend.allocate(bytes: max(plan.bytes, 1)), on: backend, body)
  }

  private init(backend: any Backend, plan: Plan, arena: Buffer?, timer: StepTimer?) {
    self.backend = backend
    self.timer = timer
    self.plan = plan
    self.arena = arena
  }

  /// Whether the step only notes sizes and lifetimes.
  public var isRecording: Bool { arena == nil }

  /// A new tensor of unspecified content that lives until its last use.
  public func make(_ rows: Int, _ columns: Int, _ dtype: DType) -> Tensor {
    precondition(rows > 0 && columns > 0, "a tensor of shape (\(rows), \(columns))")
    let wanted = rows * columns * dtype.size
    let bytes = Plan.aligned(wanted)
    defer { made += 1 }
    var address: UInt = 0
    if let arena {
      precondition(
        made < plan.slots.count && plan.slots[made].bytes == bytes, "the step ran other code than its plan")
      address = UInt(bitPattern: arena.base) + UInt(plan.slots[made].offset)
    } else {
      plan.slots.append(Plan.Slot(offset: 0, bytes: bytes, birth: operation, lastUse: operation))
    }
    return Tensor(address: address, rows: rows, columns: columns, stride: columns, dtype: dtype, slot: made)
  }

  /// Starts one operation on `operands` with `workspace` bytes of memory of its own.
  func perform(
    _ operands: [Tensor?], workspace bytes: Int = 0, _ name: StaticString = #function,
    _ body: (_ workspace: Tensor?) -> Void
  ) {
    let workspace = bytes > 0 ? make(1, bytes, .u8) : nil
    if isRecording {
      for case .some(let tensor) in operands {
        if let slot = tensor.slot { plan.slots[slot].lastUse = operation }
      }
    } else if let timer {
      timer.measure(name, on: backend) { body(workspace) }
    } else {
      body(workspace)
    }
    operation += 1
  }

  /// One operation that the host computes, on tensors that outlive the step: `body` runs when the step does, after
  /// all operations before it have ended, and may touch these tensors only.
  public func host(reading inputs: [Tensor], writing outputs: [Tensor], _ body: () -> Void) {
    precondition((inputs + outputs).allSatisfy { $0.slot == nil }, "the host reads no memory of the arena")
    perform(inputs + outputs) { _ in body() }
  }

  /// Keeps `tensor` alive up to here, for results that are read after the step.
  public func keep(_ tensor: Tensor) {
    perform([tensor]) { _ in }
  }
}
