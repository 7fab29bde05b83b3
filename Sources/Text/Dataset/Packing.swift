import Basics

/// Sequences put into rows of a fixed number of tokens.
///
/// Best-fit decreasing: the sequences in order of falling length, each into the row with the least room that holds it
/// (at most 11/9 of the best possible number of rows, plus a constant: Johnson, 1973; on real length mixes the rows
/// are nearly full). Sequences of equal length come in an order the seed decides, which leaves the number of rows and
/// their fill as they are.
public struct Packing: Sendable, Equatable {
  /// Tokens a row holds.
  public let capacity: Int
  /// Tokens of all sequences.
  public let tokenCount: Int
  /// The sequences of all rows, one row after another, and where each row begins. `(sequences)`, `(rows + 1)`
  private let sequences: [Int32]
  private let rowStarts: [Int]

  /// Packs sequences of the given lengths, each at most `capacity`.
  ///
  /// Time is O(n log capacity), about a second for a few million sequences.
  public init(lengths: [Int], capacity: Int, seed: UInt64, epoch: Int = 0) {
    let order = Self.decreasing(
      lengths, capacity,
      ties: permutation(
        of: lengths.count, seed: seed, stream: .packing(epoch: epoch)))
    var room = RowsByRoom(capacity: capacity)
    let rows = order.map { room.take(lengths[Int($0)]) }

    var starts = [Int](repeating: 0, count: room.rowCount + 1)
    for row in rows { starts[Int(row) + 1] += 1 }
    for row in 0..<room.rowCount { starts[row + 1] += starts[row] }
    var next = starts
    var sequences = [Int32](repeating: 0, count: order.count)
    for (sequence, row) in zip(order, rows) {
      sequences[next[Int(row)]] = sequence
      next[Int(row)] += 1
    }
    self.capacity = capacity
    tokenCount = lengths.reduce(0, +)
    self.sequences = sequences
    rowStarts = starts
  }

  /// One sequence a row, in order, each at most `capacity` long.
  public init(unpacked lengths: [Int], capacity: Int) {
    precondition(lengths.allSatisfy { (1...capacity).contains($0) }, "a sequence is longer than a row")
    self.capacity = capacity
    tokenCount = lengths.reduce(0, +)
    sequences = Array(0..<Int32(lengths.count))
    rowStarts = Array(0...lengths.count)
  }

  /// The number of rows.
  public var count: Int { rowStarts.count - 1 }

  /// The sequences of a row.
  public subscript(row: Int) -> ArraySlice<Int32> { sequences[rowStarts[row]..<rowStarts[row + 1]] }

  /// The share of the rows' room that sequences fill, 0 to 1; the rest is padding.
  public var efficiency: Double { count == 0 ? 1 : Double(tokenCount) / Double(count * capacity) }

  /// The sequences in order of falling length, equal ones in the order of `ties` (a counting sort).
  private static func decreasing(_ lengths: [Int], _ capacity: Int, ties: [Int32]) -> [Int32] {
    var next = [Int](repeating: 0, count: capacity + 1)
    for length in lengths {
      precondition((1...capacity).contains(length), "a sequence is longer than a row")
      // Counted one below: where a length begins is decided by the longer ones.
      next[length - 1] += 1
    }
    for length in stride(from: capacity - 1, through: 0, by: -1) { next[length] += next[length + 1] }
    var order = [Int32](repeating: 0, count: lengths.count)
    for sequence in ties {
      let length = lengths[Int(sequence)]
      order[next[length]] = sequence
      next[length] += 1
    }
    return order
  }
}

/// Rows by the room they have left.
private struct RowsByRoom {
  private let capacity: Int
  private(set) var rowCount = 0
  /// The row on top of the stack of rows with so much room, and the row below each; -1 for none.
  private var top: [Int32]
  private var below: [Int32] = []
  private var rooms: SuccessorSet

  init(capacity: Int) {
    self.capacity = capacity
    top = Array(repeating: -1, count: capacity + 1)
    rooms = SuccessorSet(capacity: capacity + 1)
  }

  /// Puts `length` tokens into the row they leave the least room in, a new one if need be; the row.
  mutating func take(_ length: Int) -> Int32 {
    let row: Int32
    let left: Int
    if let room = rooms.first(atLeast: length) {
      row = top[room]
      top[room] = below[Int(row)]
      if top[room] < 0 { rooms.remove(room) }
      left = room - length
    } else {
      row = Int32(rowCount)
      rowCount += 1
      below.append(-1)
      left = capacity - length
    }
    if left > 0 {
      below[Int(row)] = top[left]
      top[left] = row
      rooms.insert(left)
    }
    return row
  }
}

/// A set of small numbers that finds the least one not below a given number: a tree of words, each bit of which says
/// whether the word below it holds anything.
private struct SuccessorSet {
  private var levels: [[UInt64]] = []

  init(capacity: Int) {
    var count = capacity
    repeat {
      count = (count + 63) / 64
      levels.append(Array(repeating: 0, count: count))
    } while count > 1
  }

  mutating func insert(_ number: Int) {
    var at = number
    for level in levels.indices {
      levels[level][at / 64] |= 1 << UInt64(at % 64)
      at /= 64
    }
  }

  mutating func remove(_ number: Int) {
    var at = number
    for level in levels.indices {
      levels[level][at / 64] &= ~(1 << UInt64(at % 64))
      if levels[level][at / 64] != 0 { return }
      at /= 64
    }
  }

  func first(atLeast number: Int) -> Int? {
    var at = number
    for level in levels.indices {
      guard at / 64 < levels[level].count else { return nil }
      let word = levels[level][at / 64] & (~0 << UInt64(at % 64))
      if word != 0 {
        at = at / 64 * 64 + word.trailingZeroBitCount
        for lower in levels[..<level].reversed() { at = at * 64 + lower[at].trailingZeroBitCount }
        return at
      }
      at = at / 64 + 1
    }
    return nil
  }
}
