/// Which rows make up which micro-batch, epoch by epoch.
///
/// An epoch follows from seed and number alone, and a batch from its index within it: a resumed run asks for the batch it
/// stopped at and replays nothing; ranks of a distributed run ask for every n-th.
public struct BatchPlan: Sendable {
  public enum Order: Sendable, Equatable {
    /// Rows in the order they were packed, the same in every epoch: for evaluation.
    case fixed
    /// Packed anew and shuffled for each epoch.
    case shuffled(seed: UInt64)
  }

  public let dataset: TokenizedDataset
  /// Rows of a micro-batch, B (`per_device_train_batch_size`).
  public let batchSize: Int
  /// Tokens of a row, T.
  public let rowLength: Int
  /// Whether a row holds as many sequences as fit, or one.
  public let isPacked: Bool
  private let order: Order
  private let paddingID: Int32
  /// The packing of epoch 0; those of other epochs have as many rows.
  public let packing: Packing

  /// - Parameters:
  ///   - rowLength: at least the longest sequence.
  ///   - isPacked: whether a row holds as many sequences as fit, or one (`packing`).
  ///   - paddingID: the token that fills rows up; any will do, no loss counts it.
  public init(
    _ dataset: TokenizedDataset, batchSize: Int, rowLength: Int, isPacked: Bool, order: Order,
    paddingID: Int32
  ) {
    precondition(batchSize > 0)
    self.dataset = dataset
    self.batchSize = batchSize
    self.rowLength = rowLength
    self.isPacked = isPacked
    self.order = order
    self.paddingID = paddingID
    packing = Self.pack(dataset, rowLength, isPacked, order, epoch: 0)
  }

  /// Micro-batches of an epoch. Rows missing in the last are padding.
  public var batchesPerEpoch: Int { (packing.count + batchSize - 1) / batchSize }

  /// No micro-batch of any epoch has more sequences, paddings included.
  public var mostSequences: Int {
    guard isPacked else { return 2 * batchSize }
    // As many of the shortest as fit, and padding in every row.
    var room = batchSize * rowLength
    let fitting = dataset.lengths.sorted().prefix { length in
      room -= length
      return room >= 0
    }
    return fitting.count + batchSize
  }

  /// The micro-batches of epoch `number`, from 0.
  public func epoch(_ number: Int) -> Epoch {
    switch order {
    case .fixed: Epoch(plan: self, packing: packing, rows: Array(0..<Int32(packing.count)))
    case .shuffled(let seed):
      Epoch(
        plan: self,
        packing: number == 0 ? packing : Self.pack(dataset, rowLength, isPacked, order, epoch: number),
        rows: permutation(of: packing.count, seed: seed, stream: .rows(epoch: number)))
    }
  }

  private static func pack(
    _ dataset: TokenizedDataset, _ rowLength: Int, _ isPacked: Bool, _ order: Order, epoch: Int
  ) -> Packing {
    guard isPacked else { return Packing(unpacked: dataset.lengths, capacity: rowLength) }
    let seed = if case .shuffled(let seed) = order { seed } else { UInt64(0) }
    return Packing(lengths: dataset.lengths, capacity: rowLength, seed: seed, epoch: epoch)
  }

  /// One pass over the data.
  public struct Epoch: Sendable {
    private let plan: BatchPlan
    private let packing: Packing
    /// The packing's rows in the order of this epoch.
    private let rows: [Int32]

    fileprivate init(plan: BatchPlan, packing: Packing, rows: [Int32]) {
      self.plan = plan
      self.packing = packing
      self.rows = rows
    }

    public var count: Int { plan.batchesPerEpoch }

    /// Micro-batch `index` of the epoch.
    public subscript(index: Int) -> PackedBatch {
      precondition((0..<count).contains(index))
      let first = index * plan.batchSize
      let chosen = (first..<first + plan.batchSize).map { $0 < rows.count ? Int(rows[$0]) : nil }
      return PackedBatch(plan.dataset, packing, rows: chosen, paddingID: plan.paddingID)
    }
  }
}
