import Basics
import CKernels

/// The CPU as a backend: kernels in C, chosen at load time for the machine's instruction set, on one pool of
/// threads.
public final class CPU: Backend {
  let pool: OpaquePointer
  public let threads: Int
  public let mergesLinears: Bool
  private let copiesLate: Bool
  private var lateCopies: [(number: Int, copies: [MemoryCopy])] = []

  /// - Parameters:
  ///   - threads: nil for one per processor that this process may run on.
  ///   - mergesLinears: false is faster, as no weight is then copied out of its file; true is what GPUs do.
  ///   - copiesLate: whether the copies of `startCopies` are made by `finishCopies`, not at once. On GPUs they may be
  ///     made at any time between.
  public init(
    threads: Int? = nil, mergesLinears: Bool = false, copiesLate: Bool = false
  ) throws(SwiftletError) {
    self.mergesLinears = mergesLinears
    self.copiesLate = copiesLate
    let wanted = threads ?? Int(sw_available_processors())
    guard wanted > 0 else {
      throw SwiftletError(.invalidConfiguration, "threads must be at least 1, not \(wanted)")
    }
    guard let pool = sw_pool_create(Int32(wanted)) else {
      throw SwiftletError(.outOfMemory, "the system grants no thread pool")
    }
    self.pool = pool
    self.threads = Int(sw_pool_threads(pool))
  }

  deinit { sw_pool_destroy(pool) }

  public var name: String {
    let best =
      switch sw_gemm_isa(SW_BF16) {
      case SW_ISA_AMX: "AMX"
      case SW_ISA_AVX512_BF16: "AVX512-BF16"
      default: sw_gemm_isa(SW_F32) == SW_ISA_AVX512 ? "AVX-512" : "portable"
      }
    return "CPU (\(threads) thread\(threads == 1 ? "" : "s"), \(best))"
  }

  /// Whether the processor multiplies bfloat16 itself: then that is twice as fast as float32, elsewhere slower.
  public var multipliesBF16: Bool { sw_gemm_isa(SW_BF16) != SW_ISA_PORTABLE }

  public func allocate(bytes: Int) throws(SwiftletError) -> Buffer { try Buffer(count: bytes) }

  public var availableMemory: Int? { ProcessMemory.available }

  public var peakAllocatedBytes: Int? { nil }

  public var hasHostMemory: Bool { true }

  public func write(
    _ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer
  ) throws(SwiftletError) {
    UnsafeMutableRawBufferPointer(start: target, count: source.count).copyMemory(from: source)
  }

  public func read(
    _ source: UnsafeRawPointer, into target: UnsafeMutableRawBufferPointer
  ) throws(SwiftletError) {
    target.copyMemory(from: UnsafeRawBufferPointer(start: source, count: target.count))
  }

  public func place(_ weight: Weight, as target: WeightConverter.Target?) throws(SwiftletError) -> Weight {
    guard let target else { return weight }
    let converter = try WeightConverter(rows: weight.rows, columns: weight.columns, to: target)
    tasks(converter.pieces.count) { task, _ in
      converter.convert(converter.pieces[task]) { weight.decode(row: $0, into: $1) }
    }
    weight.forgetFile()
    return try converter.finish()
  }

  public func placeForLookup(
    _ weight: Weight, as target: WeightConverter.Target?
  ) throws(SwiftletError) -> Weight { try place(weight, as: target) }

  public func record(_ body: () throws -> Void) throws -> (any Recording)? { nil }

  public func allocateOnHost(bytes: Int) throws(SwiftletError) -> Buffer { try allocate(bytes: bytes) }

  public func startCopies(_ copies: [MemoryCopy], number: Int) {
    if copiesLate { lateCopies.append((number, copies)) } else { copies.forEach(Self.copy) }
  }

  public func finishCopies(number: Int) {
    guard let last = lateCopies.lastIndex(where: { $0.number == number }) else { return }
    for (_, copies) in lateCopies[...last] { copies.forEach(Self.copy) }
    lateCopies.removeSubrange(...last)
  }

  private static func copy(_ copy: MemoryCopy) {
    guard let from = UnsafeRawPointer(bitPattern: copy.from),
      let to = UnsafeMutableRawPointer(bitPattern: copy.to)
    else { preconditionFailure("a copy from or to nowhere") }
    to.copyMemory(from: from, byteCount: copy.bytes)
  }

  public var rates: DeviceRates? { nil }

  /// Operations end before they return.
  public func synchronize() throws(SwiftletError) {}

  /// Calls `body` for each of `count` tasks, on all threads; `thread` is below `threads`.
  func tasks(_ count: Int, _ body: (_ task: Int, _ thread: Int) -> Void) {
    withoutActuallyEscaping(body) { body in
      withUnsafePointer(to: body) { context in
        sw_pool_run(
          pool, Int64(count),
          { context, task, thread in
            context!.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(Int(task), Int(thread))
          }, UnsafeMutableRawPointer(mutating: context))
      }
    }
  }

  /// Cuts 0 ..< count into ranges whose bounds are multiples of `multiple` and which hold about `cost` elements
  /// of work each: enough to outweigh handing them out, few enough to spread.
  func ranges(
    _ count: Int, elementsEach: Int, multiple: Int = 1, _ body: (_ begin: Int64, _ end: Int64) -> Void
  ) {
    ranges(count, elementsEach: elementsEach, multiple: multiple) { begin, end, _ in body(begin, end) }
  }

  /// The same, with the thread that a range falls to.
  func ranges(
    _ count: Int, elementsEach: Int, multiple: Int,
    _ body: (_ begin: Int64, _ end: Int64, _ thread: Int) -> Void
  ) {
    let minimum = max(1, 16_384 / max(1, elementsEach))
    let even = (count + 4 * threads - 1) / (4 * threads)
    let size = (max(minimum, even) + multiple - 1) / multiple * multiple
    tasks((count + size - 1) / size) { task, thread in
      body(Int64(task * size), Int64(min(count, (task + 1) * size)), thread)
    }
  }
}
