/// How a matrix product is carried out on a GPU: which operands are made in the workspace first, and where there.
///
/// A term's right operand is read in place when it is a matrix of left's dtype; otherwise it is decoded into the
/// workspace. Several terms are one of two things.
///
/// - Joined: the left operands side by side and the right ones, scaled, one below the other are one product,
///   whose sums never leave the registers. Left operands that do not lie side by side are copied so.
/// - One by one: each product adds to what the ones before left, which lies in f32.
///
/// The cheaper in bytes moved is taken. Where f32 sums have no place in `out`, they lie in the workspace until a last
/// kernel rounds them.
struct ProductPlan {
  /// A matrix in the workspace.
  struct Place {
    let offset: Int
    let rows: Int
    let columns: Int
    /// Elements; rows start at multiples of 16 bytes.
    let stride: Int
    let dtype: DType

    func tensor(in workspace: UInt) -> Tensor {
      Tensor(
        address: workspace + UInt(offset), rows: rows, columns: columns, stride: stride, dtype: dtype,
        slot: nil)
    }
  }

  let isJoined: Bool
  /// The left operands side by side, where they do not lie so.
  private(set) var left: Place?
  /// One for each term that is decoded; or, joined, the first is all right operands' one matrix.
  private(set) var rights: [Place?] = []
  /// (m, n), f32
  private(set) var sums: Place?
  /// (1, n): the bias in out's type, as cuBLASLt takes it; nil when it is already.
  private(set) var bias: Place?
  /// What the workspace needs; cuBLASLt's part lies at its start.
  private(set) var bytes: Int

  init(_ product: MatrixProduct) {
    let (m, n) = (product.m, product.n)
    let dtype = product.terms[0].left.dtype
    let k = product.terms.reduce(0) { $0 + product.k($1) }
    isJoined = product.isCheaperJoined
    bytes = Gemm.workspaceBytes(m: m, n: n)
    if isJoined {
      if !product.leftsLieSideBySide { left = place(m, k, dtype) }
      rights = [product.hasRowsOnTheRight ? place(n, k, dtype) : place(k, n, dtype)]
    } else {
      // Terms come one after the other: they may use the same memory.
      let start = bytes
      var end = start
      for term in product.terms {
        bytes = start
        rights.append(term.weightToDecode.map { place($0.rows, $0.columns, dtype) })
        end = max(end, bytes)
      }
      bytes = end
    }
    let addsUpInPlace =
      product.out.dtype == .f32 || (dtype == .bf16 && (isJoined || product.terms.count == 1))
    if !addsUpInPlace {
      sums = place(m, n, .f32)
    } else if product.bias != nil, product.out.dtype != .f32 {
      bias = place(1, n, product.out.dtype)
    }
  }

  private mutating func place(_ rows: Int, _ columns: Int, _ dtype: DType) -> Place {
    let unit = 16 / dtype.size
    let stride = (columns + unit - 1) / unit * unit
    let offset = Plan.place(rows * stride * dtype.size, in: &bytes)
    return Place(offset: offset, rows: rows, columns: columns, stride: stride, dtype: dtype)
  }
}

extension MatrixProduct {
  /// Whether all terms are products with rows of weights; otherwise, joined, all are with weights.
  fileprivate var hasRowsOnTheRight: Bool { terms.allSatisfy(\.right.isTransposed) }

  private var canBeJoined: Bool {
    terms.count > 1 && !leftTransposed && terms.allSatisfy { $0.right.weight != nil }
      && (hasRowsOnTheRight || !terms.contains(where: \.right.isTransposed))
  }

  /// Whether one product, with the operands moved that it takes, moves fewer bytes than one for each term.
  fileprivate var isCheaperJoined: Bool {
    guard canBeJoined else { return false }
    let copiedLeft = leftsLieSideBySide ? 0 : terms.reduce(0) { $0 + m * k($1) }
    let copiedRight = terms.filter { $0.weightToDecode == nil }.reduce(0) { $0 + n * k($1) }
    let joined = 2 * (copiedLeft + copiedRight) * terms[0].left.dtype.size
    // Each term but the first reads and writes f32 sums; out of place, they are also written and read at the end.
    let passes = out.dtype == .f32 ? terms.count - 1 : terms.count
    return joined <= passes * 2 * m * n * DType.f32.size
  }

  /// Whether each left operand's rows go on where those of the one before end. Recording, too, offsets within a
  /// slot are known.
  var leftsLieSideBySide: Bool {
    zip(terms, terms.dropFirst()).allSatisfy { first, second in
      let (a, b) = (first.left, second.left)
      return a.slot == b.slot && a.stride == b.stride
        && b.address == a.address + UInt(a.columns * a.dtype.size)
    }
  }
}

extension MatrixProduct.Term {
  /// The right operand, when it is a weight that cannot be read in place.
  var weightToDecode: Weight? {
    guard let weight = right.weight else { return nil }
    let inPlace: StorageFormat = left.dtype == .bf16 ? .bf16 : .f32
    return weight.format == inPlace && weight.layout.interleaved_head == 0 ? nil : weight
  }
}

extension MatrixProduct.Term.Right {
  var weight: Weight? {
    switch self {
    case .rowsOf(let weight), .weight(let weight): weight
    case .matrix, .rowsOfMatrix: nil
    }
  }

  /// Whether it lies as (n, k).
  var isTransposed: Bool {
    switch self {
    case .rowsOf, .rowsOfMatrix: true
    case .weight, .matrix: false
    }
  }
}
