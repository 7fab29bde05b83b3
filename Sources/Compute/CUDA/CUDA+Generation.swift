import Basics
import CKernels

extension CUDA {
  public func allocateGrowing(most: Int) throws(SwiftletError) -> any GrowingMemory {
    try MappedMemory(device, ledger, most: most)
  }
}

/// Addresses of the device's behind which memory is mapped as it is needed.
private final class MappedMemory: GrowingMemory {
  let buffer: Buffer
  private(set) var count = 0
  private let pieces: Pieces
  private let device: CUDADevice
  private let ledger: Ledger
  private var properties: sw_memory_properties
  /// Memory is mapped in multiples of it.
  private let granularity: Int

  /// What was mapped, in order of addresses; the buffer unmaps it.
  private final class Pieces {
    var sizes: [Int] = []
  }

  init(_ device: CUDADevice, _ ledger: Ledger, most: Int) throws(SwiftletError) {
    self.device = device
    self.ledger = ledger
    let driver = device.driver
    device.makeCurrent()
    properties = sw_memory_properties()
    properties.allocation_type = 1  // CU_MEM_ALLOCATION_TYPE_PINNED
    properties.location_type = 1  // CU_MEM_LOCATION_TYPE_DEVICE
    properties.device = Int32(device.ordinal)
    var granularity = 0
    var status = driver.cuMemGetAllocationGranularity(&granularity, &properties, 0)
    guard status == 0, granularity > 0 else { throw device.error(status, "asking how memory is mapped") }
    self.granularity = granularity
    let size = max(1, (most + granularity - 1) / granularity) * granularity
    var address: sw_device_address = 0
    status = driver.cuMemAddressReserve(&address, size, 0, 0, 0)
    guard status == 0, let base = UnsafeMutableRawPointer(bitPattern: UInt(address)) else {
      throw device.error(status, "reserving \(size) bytes of the GPU's addresses")
    }
    let pieces = Pieces()
    self.pieces = pieces
    buffer = Buffer(base: base, count: most) { _ in
      device.makeCurrent()
      var offset = 0
      for piece in pieces.sizes {
        _ = driver.cuMemUnmap(address + UInt64(offset), piece)
        offset += piece
      }
      ledger.add(-offset)
      _ = driver.cuMemAddressFree(address, size)
    }
  }

  func grow(to count: Int) throws(SwiftletError) {
    precondition(count <= buffer.count)
    let mapped = pieces.sizes.reduce(0, +)
    let size = (count - mapped + granularity - 1) / granularity * granularity
    if size > 0 {
      try map(size, at: sw_device_address(UInt(bitPattern: buffer.base)) + UInt64(mapped))
      pieces.sizes.append(size)
      ledger.add(size)
    }
    self.count = max(self.count, count)
  }

  /// Maps memory that lives until it is unmapped.
  private func map(_ size: Int, at address: sw_device_address) throws(SwiftletError) {
    let driver = device.driver
    device.makeCurrent()
    var handle: UInt64 = 0
    var status = driver.cuMemCreate(&handle, size, &properties, 0)
    guard status == 0 else { throw device.error(status, "taking \(size) bytes of the GPU's memory") }
    defer { _ = driver.cuMemRelease(handle) }
    status = driver.cuMemMap(address, size, 0, handle, 0)
    guard status == 0 else { throw device.error(status, "mapping \(size) bytes of the GPU's memory") }
    // CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    var access = sw_memory_access(location_type: 1, device: Int32(device.ordinal), access: 3)
    status = driver.cuMemSetAccess(address, size, &access, 1)
    guard status == 0 else {
      _ = driver.cuMemUnmap(address, size)
      throw device.error(status, "opening \(size) bytes of the GPU's memory")
    }
  }
}
