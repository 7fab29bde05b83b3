/// The ranked merges of a BPE: which token a pair of tokens makes, and how early.
struct MergeTable: Sendable {
  struct Merge: Sendable {
    var left: Int32
    var right: Int32
    var rank: Int32
    /// The token the pair makes.
    var id: Int32
  }

  /// Open addressing; `left` is -1 in a free slot.
  private var slots: [Merge]

  init(capacity: Int) {
    var size = 16
    while size < capacity * 2 { size *= 2 }
    slots = [Merge](repeating: Merge(left: -1, right: -1, rank: 0, id: 0), count: size)
  }

  /// A pair that is there already keeps its rank.
  mutating func insert(_ merge: Merge) {
    var slot = place(merge.left, merge.right)
    while slots[slot].left >= 0 {
      if slots[slot].left == merge.left, slots[slot].right == merge.right { return }
      slot = (slot + 1) & (slots.count - 1)
    }
    slots[slot] = merge
  }

  subscript(_ left: Int32, _ right: Int32) -> Merge? {
    var slot = place(left, right)
    while slots[slot].left >= 0 {
      if slots[slot].left == left, slots[slot].right == right { return slots[slot] }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  private func place(_ left: Int32, _ right: Int32) -> Int {
    // Fibonacci hashing: the product's high bits depend on all bits of the pair.
    let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    let product = key &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: product >> 32) & (slots.count - 1)
  }
}
