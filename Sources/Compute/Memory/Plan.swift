/// Where every tensor of a step lies, found before the step runs.
///
/// A step's code runs once against a recorder, which notes for each tensor its size, when it is made and when
/// it is last used. Tensors whose lifetimes do not meet may share memory; the layout places the largest first,
/// each at the lowest offset of the smallest gap that is free throughout its lifetime. (Greedy by size:
/// Pisarchyk & Lee, arXiv:2001.03288, section 5.2.)
public struct Plan: Sendable {
  /// One tensor's memory.
  public struct Slot: Sendable, Equatable {
    /// Bytes from the arena's start; a multiple of `Plan.alignment`.
    public internal(set) var offset: Int
    public let bytes: Int
    /// The operation that makes the tensor, and the last that uses it.
    public let birth: Int
    public internal(set) var lastUse: Int
  }

  /// Every tensor starts at a multiple of so many bytes: a cache line here, what cuBLASLt and TMA want there.
  public static let alignment = 256

  /// `bytes`, up to the next multiple of `alignment`.
  static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }

  /// Takes `bytes` at the end of a layout of `size` bytes: returns their offset, a multiple of `alignment`.
  static func place(_ bytes: Int, in size: inout Int) -> Int {
    let offset = aligned(size)
    size = offset + bytes
    return offset
  }

  public internal(set) var slots: [Slot] = []
  /// Where parked tensors lie in the host's memory, from when they are parked to when they are back.
  public internal(set) var hostSlots: [Slot] = []
  /// Operations recorded.
  public var operations: Int { traffic.count }
  /// By operation: the bytes of its operands, each of which is read or written about once.
  public internal(set) var traffic: [Int] = []
  /// Bytes of the arena: the step's peak.
  public private(set) var bytes = 0
  /// Bytes of the host's memory that the step parks tensors in.
  public private(set) var hostBytes = 0

  /// The sum of all tensors' bytes: what the arena would need if nothing shared memory.
  public var bytesWithoutSharing: Int { slots.reduce(0) { $0 + $1.bytes } }

  /// The most bytes that live at once: no layout can need less.
  public var lowerBound: Int { liveBytes.max() ?? 0 }

  /// By operation: the bytes of the tensors that live then.
  public var liveBytes: [Int] {
    var change = [Int](repeating: 0, count: operations + 2)
    for slot in slots {
      change[slot.birth] += slot.bytes
      change[slot.lastUse + 1] -= slot.bytes
    }
    var live = 0
    return change.map { delta in
      live += delta
      return live
    }
  }

  /// Chooses every slot's offset.
  mutating func layOut() {
    bytes = Self.layOut(&slots)
    hostBytes = Self.layOut(&hostSlots)
  }

  /// Chooses the offsets of `slots` and returns the bytes of the memory that holds them.
  private static func layOut(_ slots: inout [Slot]) -> Int {
    var bytes = 0
    var placed: [Slot] = []  // by offset
    let order = slots.indices.sorted {
      (slots[$1].bytes, $0) < (slots[$0].bytes, $1)
    }
    for index in order {
      let offset = Plan.offset(for: slots[index], among: placed)
      slots[index].offset = offset
      bytes = max(bytes, offset + slots[index].bytes)
      placed.insert(slots[index], at: Plan.position(of: offset, in: placed))
    }
    return bytes
  }

  /// The start of the smallest gap that holds `slot` beside all of `placed` that live when it does.
  private static func offset(for slot: Slot, among placed: [Slot]) -> Int {
    var best: (offset: Int, gap: Int)?
    var end = 0
    for other in placed where other.birth <= slot.lastUse && slot.birth <= other.lastUse {
      let gap = other.offset - end
      if gap >= slot.bytes, gap < best?.gap ?? .max { best = (end, gap) }
      end = max(end, other.offset + other.bytes)
    }
    return best?.offset ?? end
  }

  private static func position(of offset: Int, in placed: [Slot]) -> Int {
    var low = 0
    var high = placed.count
    while low < high {
      let middle = (low + high) / 2
      if placed[middle].offset < offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
