import Basics

/// What a device can do: every operation of a step, with explicit outputs and no allocation.
///
/// `Step` has checked shapes and dtypes before it calls; an implementation may assume them. Each operation's
/// meaning, with its formula, stands at the `Step` method of the same name. Rows are independent in all
/// operations but the products and sums that say otherwise, and no result depends on how work is split.
///
/// A backend is driven by one thread at a time.
public protocol Backend: AnyObject {
  /// What the device is, for people.
  var name: String { get }

  /// Memory that outlives a step: arenas, parameters, caches. Its content is undefined.
  func allocate(bytes: Int) throws(SwiftletError) -> Buffer

  /// Memory of which only the first `Growing.count` bytes are there, and more when asked for: its address stays. For caches
  /// that grow with use.
  ///
  /// - Parameter most: it can never have more bytes.
  /// - Throws: `.outOfMemory` when there are not even the addresses.
  func allocateGrowing(most: Int) throws(SwiftletError) -> any GrowingMemory

  /// Whether products of bfloat16 are faster than those of float32.
  var multipliesBF16: Bool { get }

  /// Bytes that this backend has allocated and may still allocate; nil when the system does not say.
  var availableMemory: Int? { get }

  /// The most bytes of the device's memory that were allocated at once; nil where it is the host's.
  var peakAllocatedBytes: Int? { get }

  /// Whether that memory is the host's own, so that the host may read and write it while no operation runs.
  var hasHostMemory: Bool { get }

  /// Copies host memory to the device's, in order with the operations that were started. The source may change as
  /// soon as the call returns.
  ///
  /// - Throws: what failed on the device since the last call.
  func write(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) throws(SwiftletError)

  /// Copies the device's memory to the host, after all operations that were started have ended.
  ///
  /// - Throws: what failed on the device since the last call.
  func read(_ source: UnsafeRawPointer, into target: UnsafeMutableRawBufferPointer) throws(SwiftletError)

  /// A matrix of the host's where the device's operations can read it, in another format if one is given: `weight`
  /// itself, or a copy. What reading it from a mapped file has cost is given back, where it is copied.
  ///
  /// - Throws: `.outOfMemory`.
  func place(_ weight: Weight, as target: WeightConverter.Target?) throws(SwiftletError) -> Weight

  /// The same for a matrix of which a step reads some rows only: it may stay in the host's memory, from where the
  /// device reads them.
  func placeForLookup(_ weight: Weight, as target: WeightConverter.Target?) throws(SwiftletError) -> Weight

  /// Memory of the host's for `startCopies`, locked where the device needs that. Its content is undefined.
  ///
  /// - Throws: `.outOfMemory`.
  func allocateOnHost(bytes: Int) throws(SwiftletError) -> Buffer

  /// Starts copying between the device's memory and such memory of the host's: after all operations and copies that
  /// were started before, and beside the operations that are started from here to `finishCopies` with the same
  /// number.
  func startCopies(_ copies: [MemoryCopy], number: Int)

  /// Has what is started from here on come after the copies that were last started with this number.
  func finishCopies(number: Int)

  /// How fast the device is, measured when first asked; nil where copies to the host gain nothing, or nothing could
  /// be measured. Not while operations are recorded.
  var rates: DeviceRates? { get }

  /// Waits for all operations that were started.
  ///
  /// - Throws: what failed on the device since the last call.
  func synchronize() throws(SwiftletError)

  /// Records the operations that `body` starts, without running them; nil, with `body` not called, where starting them
  /// again one by one costs no more.
  ///
  /// Operations take their operands by address: what is to change from run to run must lie in memory.
  func record(_ body: () throws -> Void) throws -> (any Recording)?

  // Products
  func workspaceBytes(_ product: MatrixProduct) -> Int
  func run(_ product: MatrixProduct, workspace: Tensor?)

  /// Whether layers that share an input, and their adapters, are best computed as one product with a matrix that
  /// `expand` writes anew each time; if not, part by part.
  var mergesLinears: Bool { get }
  func expand(_ layer: LinearExpansion, into out: Tensor)
  func expandUps(_ layer: LinearExpansion, into out: Tensor)

  // Products in float8
  /// Why this device has none that are fast; nil when it has.
  var float8Refusal: String? { get }
  func float8(_ x: Tensor, times factors: Tensor?, into rows: Float8Rows)
  func float8Scales(_ weight: Weight, into scales: Tensor)
  func float8(_ weight: Weight, scales: Tensor, transposed: Bool, into codes: Tensor)
  func workspaceBytes(_ product: Float8Product) -> Int
  func run(_ product: Float8Product, workspace: Tensor?)

  // Attention
  func workspaceBytes(_ attention: Attention) -> Int
  func run(_ attention: Attention, workspace: Tensor?)
  /// Whether attention to the keys of rows that lie side by side is faster than to the same in pages.
  var attendsFasterOutsidePages: Bool { get }
  func workspaceBytes(_ backward: AttentionBackward) -> Int
  func run(_ backward: AttentionBackward, workspace: Tensor?)

  // Generation
  /// Whether so many rows of such a layer go through `fewRows`: because it is the faster way, or, in a decoding step,
  /// because a row's result must not depend on how many others there are.
  func servesFewRows(_ layer: LinearExpansion, rows: Int, isDecoding: Bool) -> Bool
  func workspaceBytes(_ layer: FewRows) -> Int
  func run(_ layer: FewRows, workspace: Tensor?)
  func selectAdapters(_ h: Tensor, _ selection: AdapterSelection)
  func run(_ write: PageWrite)
  func workspaceBytes(_ attention: PagedAttention) -> Int
  func run(_ attention: PagedAttention, workspace: Tensor?)
  func editLogits(_ logits: Tensor, _ edits: Tensor)
  func maskLogits(_ logits: Tensor, _ masks: Tensor)
  func workspaceBytes(_ sampling: Sampling) -> Int
  func run(_ sampling: Sampling, workspace: Tensor?)

  // Normalisation
  func rmsNorm(
    _ x: Tensor, residual: Tensor?, weight: Tensor, epsilon: Float, h: Tensor?, y: Tensor, rstd: Tensor)
  func rmsNormBackward(
    _ dy: Tensor, h: Tensor, weight: Tensor, rstd: Tensor, adding: Tensor?, dh: Tensor, dWeight: Tensor?)

  // Element-wise
  func rotary(_ x: Tensor, positions: Tensor, table: RotaryTable, direction: RotaryDirection, y: Tensor)
  func gatedActivation(_ activation: Activation, gate: Tensor, up: Tensor, y: Tensor)
  func gatedActivationBackward(
    _ activation: Activation, gate: Tensor, up: Tensor, dy: Tensor, dGate: Tensor, dUp: Tensor)
  func add(_ a: Tensor, _ b: Tensor, y: Tensor)
  func convert(_ x: Tensor, y: Tensor)
  func dropout(_ x: Tensor, _ dropout: Dropout, y: Tensor)
  func zero(_ x: Tensor)

  // Embedding
  func embedding(ids: Tensor, weight: Weight, y: Tensor)
  func embeddingBackward(_ dy: Tensor, ids: Tensor, dWeight: Tensor)
  func columnSum(_ x: Tensor, sum: Tensor)

  // Loss
  func crossEntropy(
    _ logits: Tensor, _ slice: VocabularySlice, labels: Tensor, logsumexp: Tensor, loss: Tensor)
  func crossEntropyBackward(
    _ logits: Tensor, firstColumn: Int, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor,
    dLogits: Tensor)

  // Optimiser
  var sumOfSquaresWorkspaceBytes: Int { get }
  func sumOfSquares(_ x: Tensor, sum: Tensor, workspace: Tensor?)
  func adamW(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor)
  func adamW8bit(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, state: AdamW8bitState)
}

/// Memory that grows where it lies.
public protocol GrowingMemory: AnyObject {
  /// All addresses, `most` bytes; only the first `count` may be used.
  var buffer: Buffer { get }
  var count: Int { get }

  /// Makes at least the first `count` bytes usable. What they hold stays; the new ones are undefined.
  ///
  /// - Throws: `.outOfMemory`: then nothing has changed.
  func grow(to count: Int) throws(SwiftletError)
}

/// Operations that were recorded once, to be started again and again as one.
public protocol Recording: AnyObject, Sendable {
  /// Starts them, after all that were started before.
  func start()
}

/// Bytes to be copied.
public struct MemoryCopy: Sendable {
  /// Addresses where each lies.
  public let from, to: UInt
  public let bytes: Int

  public init(from: UInt, to: UInt, bytes: Int) {
    self.from = from
    self.to = to
    self.bytes = bytes
  }
}

/// What a device can do in a second.
public struct DeviceRates: Sendable {
  /// Floating-point operations of bf16 products.
  public var operations: Double
  /// Bytes of its own memory, read or written.
  public var memory: Double
  /// Bytes copied to the host's memory, and from there.
  public var toHost, fromHost: Double

  public init(operations: Double, memory: Double, toHost: Double, fromHost: Double) {
    self.operations = operations
    self.memory = memory
    self.toHost = toHost
    self.fromHost = fromHost
  }
}
