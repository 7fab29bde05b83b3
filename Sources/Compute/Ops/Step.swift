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
  private let host: Buffer?
  private let timer: StepTimer?
  private var made = 0
  private var madeOnHost = 0
  /// Operations so far.
  public private(set) var operation = 0
  var copies = StepCopies()

  /// Records `body` and lays out its memory.
  public static func plan(on backend: any Backend, _ body: (Step) throws -> Void) rethrows -> Plan {
    let step = Step(backend: backend, plan: Plan(), arena: nil, host: nil, timer: nil)
    try body(step)
    precondition(step.copies.areFinished, "the step ends before its copies do")
    step.plan.layOut()
    return step.plan
  }

  /// Runs `body`, which `plan` was recorded from, in `arena`.
  ///
  /// - Parameters:
  ///   - host: the backend's host memory, for plans that park tensors there.
  ///   - timer: told how long each operation takes.
  public static func run<Result>(
    _ plan: Plan, in arena: Buffer, host: Buffer? = nil, on backend: any Backend, timer: StepTimer? = nil,
    _ body: (Step) throws -> Result
  ) rethrows -> Result {
    precondition(arena.count >= plan.bytes, "the arena is smaller than its plan")
    precondition(host?.count ?? 0 >= plan.hostBytes, "the host's memory is smaller than the plan says")
    let step = Step(backend: backend, plan: plan, arena: arena, host: host, timer: timer)
    let result = try body(step)
    precondition(
      step.made == plan.slots.count && step.madeOnHost == plan.hostSlots.count
        && step.operation == plan.operations, "the step ran other code than its plan")
    return result
  }

  /// Plans `body` and runs it once in an arena of its own.
  public static func runOnce<Result>(
    on backend: any Backend, _ body: (Step) throws -> Result
  ) throws -> Result {
    let plan = try plan(on: backend) { _ = try body($0) }
    let host = plan.hostBytes > 0 ? try backend.allocateOnHost(bytes: plan.hostBytes) : nil
    return try run(plan, in: backend.allocate(bytes: max(plan.bytes, 1)), host: host, on: backend, body)
  }

  private init(backend: any Backend, plan: Plan, arena: Buffer?, host: Buffer?, timer: StepTimer?) {
    self.backend = backend
    self.timer = timer
    self.plan = plan
    self.arena = arena
    self.host = host
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

  /// Room for `bytes` in the host's memory, from here to `releaseOnHost`.
  func makeOnHost(bytes: Int) -> (slot: Int, address: UInt) {
    defer { madeOnHost += 1 }
    guard !isRecording else {
      plan.hostSlots.append(Plan.Slot(offset: 0, bytes: bytes, birth: operation, lastUse: operation))
      return (madeOnHost, 0)
    }
    guard let host, madeOnHost < plan.hostSlots.count, plan.hostSlots[madeOnHost].bytes == bytes else {
      preconditionFailure("the step ran other code than its plan")
    }
    return (madeOnHost, UInt(bitPattern: host.base) + UInt(plan.hostSlots[madeOnHost].offset))
  }

  /// The next operation is the last for which the host's memory `slot` is needed.
  func releaseOnHost(_ slot: Int) {
    if isRecording { plan.hostSlots[slot].lastUse = operation }
  }

  /// All memory of a slot.
  func memory(ofSlot slot: Int) -> Tensor {
    let bytes = plan.slots[slot].bytes
    let address = arena.map { UInt(bitPattern: $0.base) + UInt(plan.slots[slot].offset) } ?? 0
    return Tensor(address: address, rows: 1, columns: bytes, stride: bytes, dtype: .u8, slot: slot)
  }

  /// Starts one operation on `operands` with `workspace` bytes of memory of its own.
  func perform(
    _ operands: [Tensor?], workspace bytes: Int = 0, _ name: StaticString = #function,
    _ body: (_ workspace: Tensor?) -> Void
  ) {
    let workspace = bytes > 0 ? make(1, bytes, .u8) : nil
    if isRecording {
      var traffic = 0
      for case .some(let tensor) in operands {
        traffic += tensor.rows * tensor.columns * tensor.dtype.size
        if let slot = tensor.slot { plan.slots[slot].lastUse = operation }
      }
      plan.traffic.append(traffic)
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
