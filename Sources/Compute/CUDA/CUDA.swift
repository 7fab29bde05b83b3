import Basics
import CKernels
import Synchronization

/// An NVIDIA GPU as a backend. Operations are started on one stream and end in that order; nothing waits for them but
/// `read` and `synchronize`.
///
/// No operation throws: the first failure is kept, later operations are not started, and `read`, `write` and
/// `synchronize` throw it.
public final class CUDA: Backend {
  let device: CUDADevice
  let stream: UnsafeMutableRawPointer
  let gemms: GemmCache
  private let compiler: KernelCompiler
  private var modules: [KernelSource: UnsafeMutableRawPointer] = [:]
  private var functions: [String: UnsafeMutableRawPointer] = [:]
  private(set) var failure: SwiftletError?
  let ledger = Ledger()
  private var stage: UploadStage?
  /// Counters of blocks that meet within a kernel, 0 between kernels: see `arrivals`.
  private var counters: Buffer?
  /// By their bytes: see `sharedTable`.
  var sharedTables: [[UInt8]: Buffer] = [:]
  /// Made with the first memory of the host's.
  var copyStream: CopyStream?
  public private(set) lazy var rates: DeviceRates? = try? measureRates()
  /// nil where there is no cuDNN.
  private(set) lazy var fusedAttention = makeFusedAttention()

  var driver: sw_cuda_driver { device.driver }
  var libraries: CUDALibraries { device.libraries }

  /// Takes a GPU into use and loads the kernels, from the cache or compiled now, but those that not every run needs.
  ///
  /// - Parameters:
  ///   - ordinal: which GPU, from 0.
  ///   - libraries: see `CUDALibraries`.
  ///   - kernelCache: folder of compiled kernels; nil to keep none.
  /// - Throws: `.unavailable` or `.unsupported`, saying what is missing.
  public init(
    _ ordinal: Int = 0, libraries: CUDALibraries, kernelCache: String? = CUDA.defaultKernelCache
  ) throws(SwiftletError) {
    device = try CUDADevice(ordinal, libraries)
    gemms = try GemmCache(device)
    var stream: UnsafeMutableRawPointer?
    let status = device.driver.cuStreamCreate(&stream, 1)  // CU_STREAM_NON_BLOCKING
    guard status == 0, let stream else { throw device.error(status, "making a stream") }
    self.stream = stream
    compiler = KernelCompiler(
      nvrtc: libraries.nvrtc, architecture: device.architecture, cacheFolder: kernelCache)
    try loadKernels()
    counters = try allocate(bytes: Self.counterCount * MemoryLayout<UInt32>.size)
    start("clearing counters") { $0.cuMemsetD8Async(arrivals, 0, Self.counterCount * 4, stream) }
    if let failure { throw failure }
  }

  /// Whether this machine has a driver and a GPU.
  public static var isPresent: Bool { CUDADevice.count > 0 }

  public static var defaultKernelCache: String { KernelCompiler.defaultCacheFolder }

  deinit {
    device.makeCurrent()
    copyStream = nil
    _ = driver.cuStreamSynchronize(stream)
    for module in modules.values { _ = driver.cuModuleUnload(module) }
    _ = driver.cuStreamDestroy_v2(stream)
  }

  public var name: String {
    "\(device.name) (cuda:\(device.ordinal), compute capability "
      + "\(device.computeCapability.major).\(device.computeCapability.minor))"
  }

  // MARK: Memory

  public var hasHostMemory: Bool { false }

  public var multipliesBF16: Bool { true }

  public var availableMemory: Int? { device.memory.free + allocatedBytes }

  /// Bytes allocated now, and at most so far.
  public var allocatedBytes: Int { ledger.now }
  public var peakAllocatedBytes: Int? { ledger.peak }

  /// - Throws: `.outOfMemory`, saying how much there is.
  public func allocate(bytes: Int) throws(SwiftletError) -> Buffer {
    device.makeCurrent()
    var address: sw_device_address = 0
    let status = driver.cuMemAlloc_v2(&address, max(bytes, 16))
    guard status == 0, let base = UnsafeMutableRawPointer(bitPattern: UInt(address)) else {
      let (free, total) = device.memory
      throw status == 2
        ? SwiftletError(
          .outOfMemory,
          "the GPU has no \(bytes >> 20) MB left: of its \(total >> 20) MB \(free >> 20) are free, "
            + "\(ledger.now >> 20) are this run's, the rest others'",
          remedy:
            "End what else uses it (nvidia-smi lists it), set or lower memory_budget, which keeps a head that does "
            + "not fit in the host's memory, or lower per_device_train_batch_size or max_seq_length.")
        : device.error(status, "taking \(bytes) bytes of the GPU's memory")
    }
    let (device, ledger) = (device, ledger)
    ledger.add(bytes)
    return Buffer(base: base, count: bytes) { base in
      ledger.add(-bytes)
      device.makeCurrent()
      _ = device.driver.cuMemFree_v2(sw_device_address(UInt(bitPattern: base)))
    }
  }

  public func write(
    _ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer
  ) throws(SwiftletError) {
    guard source.count > 0 else { return }
    start("copying to the GPU") {
      $0.cuMemcpyHtoDAsync_v2(
        sw_device_address(UInt(bitPattern: target)), source.baseAddress, source.count, stream)
    }
    // Memory that is not pinned is staged before the call returns: the source may change from here on.
    if let failure { throw failure }
  }

  public func read(
    _ source: UnsafeRawPointer, into target: UnsafeMutableRawBufferPointer
  ) throws(SwiftletError) {
    guard target.count > 0 else { return }
    start("copying from the GPU") {
      $0.cuMemcpyDtoHAsync_v2(
        target.baseAddress, sw_device_address(UInt(bitPattern: source)), target.count, stream)
    }
    try synchronize()
  }

  public func synchronize() throws(SwiftletError) {
    start("waiting for the GPU") { $0.cuStreamSynchronize(stream) }
    if let failure { throw failure }
  }

  /// What large copies to the GPU go through; made with the first of them.
  func uploadStage() throws(SwiftletError) -> UploadStage {
    if let stage { return stage }
    let made = try UploadStage(device)
    stage = made
    return made
  }

  /// How many of `arrivals` there are.
  static let counterCount = 64 << 10

  /// Counters for blocks of a kernel that meet: 0 when it starts, and again when it has ended.
  var arrivals: sw_device_address { sw_device_address(UInt(bitPattern: counters?.base)) }

  private func makeFusedAttention() -> CuDNNAttention? {
    guard let functions = libraries.dnn, let library = try? CuDNN(functions, on: device, stream) else {
      return nil
    }
    return CuDNNAttention(library, computeCapability: device.computeCapability)
  }

  // MARK: Starting work

  /// Calls the driver, unless something failed before; keeps the first failure.
  func start(_ what: @autoclosure () -> String, _ call: (sw_cuda_driver) -> Int32) {
    guard failure == nil else { return }
    device.makeCurrent()
    let status = call(driver)
    if status != 0 { failure = device.error(status, what()) }
  }

  /// Whether something failed: nothing is started any more.
  var hasFailed: Bool { failure != nil }

  /// Keeps `error`, if it is the first.
  func fail(_ error: SwiftletError) { failure = failure ?? error }

  /// The blocks of a launch.
  struct Grid {
    var x: Int
    var y = 1
    var z = 1
  }

  /// Starts a kernel.
  ///
  /// - Parameters:
  ///   - threads: of a block.
  ///   - shared: bytes of dynamic shared memory.
  ///   - overlapping: the kernel calls `wait_for_predecessors` before it touches what the last kernel writes, and may
  ///     begin while that is ending.
  ///   - arguments: as the kernel declares them: same sizes, same order.
  func launch<each Argument: BitwiseCopyable>(
    _ source: KernelSource, _ name: String, grid: Grid, threads: Int, shared: Int = 0,
    overlapping: Bool = false, _ arguments: repeat each Argument
  ) {
    guard failure == nil, grid.x > 0, grid.y > 0, grid.z > 0, let function = function(name, source) else {
      return
    }
    if shared > 48 << 10 {
      // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
      start("giving \(name) shared memory") { $0.cuFuncSetAttribute(function, 8, Int32(shared)) }
    }
    withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 16) { bytes in
      withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: 32) { pointers in
        var (offset, count) = (0, 0)
        for argument in repeat each arguments {
          let alignment = MemoryLayout.alignment(ofValue: argument)
          offset = (offset + alignment - 1) / alignment * alignment
          let place = bytes.baseAddress! + offset
          withUnsafeBytes(of: argument) { place.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
          pointers[count] = place
          offset += MemoryLayout.size(ofValue: argument)
          count += 1
        }
        precondition(offset <= bytes.count && count <= pointers.count)
        start("starting \(name)") {
          launch($0, function, grid, threads, shared, overlapping: overlapping, pointers.baseAddress)
        }
      }
    }
  }

  private func launch(
    _ driver: sw_cuda_driver, _ function: UnsafeMutableRawPointer, _ grid: Grid, _ threads: Int,
    _ shared: Int,
    overlapping: Bool, _ arguments: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
  ) -> Int32 {
    guard overlapping, device.computeCapability.major >= 9 else {
      return driver.cuLaunchKernel(
        function, UInt32(grid.x), UInt32(grid.y), UInt32(grid.z), UInt32(threads), 1, 1, UInt32(shared),
        stream,
        arguments, nil)
    }
    // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    var attribute = sw_launch_attribute()
    (attribute.id, attribute.value.0) = (6, 1)
    return withUnsafeMutablePointer(to: &attribute) {
      var config = sw_launch_config(
        grid_x: UInt32(grid.x), grid_y: UInt32(grid.y), grid_z: UInt32(grid.z), block_x: UInt32(threads),
        block_y: 1, block_z: 1, shared_bytes: UInt32(shared), stream: stream, attributes: $0,
        attribute_count: 1)
      return driver.cuLaunchKernelEx(&config, function, arguments, nil)
    }
  }

  private func function(_ name: String, _ source: KernelSource) -> UnsafeMutableRawPointer? {
    if let function = functions[name] { return function }
    if modules[source] == nil {
      do throws(SwiftletError) { try load(source, compiler.cubin(source)) } catch { fail(error) }
    }
    var function: UnsafeMutableRawPointer?
    start("finding the kernel \(name)") { $0.cuModuleGetFunction(&function, modules[source], name) }
    functions[name] = function
    return function
  }

  /// Loads what every step needs, compiled side by side where it must be.
  private func loadKernels() throws(SwiftletError) {
    let sources = KernelSource.allCases.filter { !$0.isLoadedWhenUsed }
    let compiler = compiler
    let cubins = try inParallel(sources.count, into: [[UInt8]]()) { index throws(SwiftletError) in
      try compiler.cubin(sources[index])
    } add: {
      $0.append($1)
    }
    for (source, cubin) in zip(sources, cubins) { try load(source, cubin) }
  }

  private func load(_ source: KernelSource, _ cubin: [UInt8]) throws(SwiftletError) {
    var module: UnsafeMutableRawPointer?
    let status = cubin.withUnsafeBytes { driver.cuModuleLoadData(&module, $0.baseAddress) }
    guard status == 0 else { throw device.error(status, "loading the kernels of \(source.rawValue).cu") }
    modules[source] = module
  }
}

/// Counts allocated bytes, on whichever thread buffers end.
final class Ledger: Sendable {
  private let bytes = Mutex((now: 0, peak: 0))

  var now: Int { bytes.withLock { $0.now } }
  var peak: Int { bytes.withLock { $0.peak } }

  func add(_ count: Int) {
    bytes.withLock {
      $0.now += count
      $0.peak = max($0.peak, $0.now)
    }
  }
}
