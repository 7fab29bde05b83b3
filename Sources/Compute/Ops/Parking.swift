/// Tensors whose memory is copied to the host's, so that a step may use it for others meanwhile.
public struct Parked {
  /// Memory of the arena that such tensors lie in, and where its copy lies.
  struct Piece {
    let memory: Tensor
    let host: (slot: Int, address: UInt)
  }

  let pieces: [Piece]
  /// The copies' number in the step.
  let number: Int
}

/// Parked tensors on their way back.
public struct Recalled {
  /// By the slot that was parked.
  let memory: [Int: (old: Tensor, new: Tensor)]
  let number: Int

  /// The tensor, or columns or rows of one, where it lies now. What was never parked lies where it lay.
  public func callAsFunction(_ tensor: Tensor) -> Tensor {
    guard let slot = tensor.slot, let (old, new) = memory[slot] else { return tensor }
    return Tensor(
      address: new.address + (tensor.address - old.address), rows: tensor.rows, columns: tensor.columns,
      stride: tensor.stride, dtype: tensor.dtype, slot: new.slot)
  }
}

/// The copies of a step.
struct StepCopies {
  private var started = 0
  private var unfinished: Set<Int> = []

  var areFinished: Bool { unfinished.isEmpty }
  func areFinished(_ number: Int) -> Bool { !unfinished.contains(number) }

  mutating func start() -> Int {
    defer { started += 1 }
    unfinished.insert(started)
    return started
  }

  mutating func finish(_ number: Int) {
    precondition(unfinished.remove(number) != nil, "copies are waited for twice")
  }
}

extension Step {
  /// Starts copying the memory of `tensors` to the host's, beside what follows. Nothing may write them until
  /// `finishParking`, and nothing may use them after it.
  ///
  /// Whole slots are copied, each once: a tensor that is columns of another takes that along. Memory that outlives the
  /// step stays where it is.
  public func park(_ tensors: [Tensor]) -> Parked {
    var known: Set<Int> = []
    let slots = tensors.compactMap(\.slot).filter { known.insert($0).inserted }
    let pieces = slots.map { slot in
      let memory = memory(ofSlot: slot)
      return Parked.Piece(memory: memory, host: makeOnHost(bytes: memory.columns))
    }
    let parked = Parked(pieces: pieces, number: copies.start())
    perform(pieces.map(\.memory)) { _ in
      backend.startCopies(
        pieces.map { MemoryCopy(from: $0.memory.address, to: $0.host.address, bytes: $0.memory.columns) },
        number: parked.number)
    }
    return parked
  }

  /// What follows comes after the copies to the host, and may use the tensors' memory.
  public func finishParking(_ parked: Parked) {
    copies.finish(parked.number)
    perform(parked.pieces.map(\.memory)) { _ in backend.finishCopies(number: parked.number) }
  }

  /// Starts copying parked tensors to new memory, beside what follows. Nothing may use them until `finishRecall`.
  public func recall(_ parked: Parked) -> Recalled {
    precondition(copies.areFinished(parked.number), "tensors are recalled before they are parked")
    let pieces = parked.pieces.map { piece in
      releaseOnHost(piece.host.slot)
      return (piece.host.address, old: piece.memory, new: make(1, piece.memory.columns, .u8))
    }
    let number = copies.start()
    perform(pieces.map(\.new)) { _ in
      backend.startCopies(
        pieces.map { MemoryCopy(from: $0, to: $2.address, bytes: $1.columns) }, number: number)
    }
    let memory = pieces.compactMap { piece in piece.old.slot.map { ($0, (piece.old, piece.new)) } }
    return Recalled(memory: Dictionary(uniqueKeysWithValues: memory), number: number)
  }

  /// What follows comes after the copies from the host.
  public func finishRecall(_ recalled: Recalled) {
    copies.finish(recalled.number)
    perform(recalled.memory.values.map(\.new)) { _ in backend.finishCopies(number: recalled.number) }
  }
}
