/// Rows of a weight on their way from the host's memory.
private struct FetchedRows {
  /// What they come to.
  let memory: Tensor
  let weight: Weight
  /// The copy's number in the step.
  let number: Int
}

extension Step {
  /// Calls `body` with all rows of a weight in the host's memory, from the first on, so many at a time: while it starts
  /// operations with some, which lie in the device's memory until they have ended, the next are copied there.
  ///
  /// - Precondition: the weight's rows stand alone (`Weight.rowBytes`), and lie in memory of `Backend.placeForLookup` or
  ///   `Backend.allocateOnHost`.
  public func stream(
    _ weight: Weight, rows count: Int, _ body: (_ rows: Range<Int>, _ weight: Weight) -> Void
  ) {
    var coming = fetch(0..<min(count, weight.rows), of: weight)
    for start in stride(from: 0, to: weight.rows, by: count) {
      let (here, end) = (coming, min(start + count, weight.rows))
      copies.finish(here.number)
      perform([here.memory]) { _ in backend.finishCopies(number: here.number) }
      if end < weight.rows { coming = fetch(end..<min(end + count, weight.rows), of: weight) }
      body(start..<end, here.weight)
      // Products do not say that a weight's memory is in use.
      keep(here.memory)
    }
  }

  private func fetch(_ rows: Range<Int>, of weight: Weight) -> FetchedRows {
    guard let rowBytes = weight.rowBytes else { preconditionFailure("rows that need the whole matrix") }
    let memory = make(rows.count, rowBytes, .u8)
    let from = UInt(bitPattern: weight.layout.data) + UInt(rows.lowerBound * rowBytes)
    let number = copies.start()
    perform([memory]) { _ in
      backend.startCopies(
        [MemoryCopy(from: from, to: memory.address, bytes: rows.count * rowBytes)], number: number)
    }
    return FetchedRows(
      memory: memory, weight: weight.withRows(rows.count, at: memory.address), number: number)
  }
}
