import Testing

@testable import Compute

/// Which way a product takes on a GPU, and that what it makes in the workspace does not overlap.
struct ProductPlanTests {
  /// y = x Wᵀ + h Bᵀ with W in `format`, of sizes where copies of weights cost little beside f32 sums.
  func adapted(
    m: Int = 512, n: Int = 256, _ format: StorageFormat = .nf4, x: Tensor, h: Tensor, out: DType = .bf16,
    bias: Tensor? = nil
  ) throws -> MatrixProduct {
    let owner = try Buffer(count: 16)
    func weight(_ format: StorageFormat, _ columns: Int) -> Weight {
      Weight(layout: Weight.layout(format, n, columns, owner.base), owner: owner)
    }
    return MatrixProduct(
      terms: [
        MatrixProduct.Term(left: x, right: .rowsOf(weight(format, x.columns)), scale: 1),
        MatrixProduct.Term(left: h, right: .rowsOf(weight(.f32, h.columns)), scale: 2),
      ],
      leftTransposed: false, alpha: 1, bias: bias, addend: nil, out: tensor(m, n, out, slot: 9),
      outTransposed: false)
  }

  /// A tensor as it is while a step is recorded.
  func tensor(_ rows: Int, _ columns: Int, _ dtype: DType = .bf16, slot: Int) -> Tensor {
    Tensor(address: 0, rows: rows, columns: columns, stride: columns, dtype: dtype, slot: slot)
  }

  @Test func joinsWhatLiesSideBySideWithoutACopy() throws {
    let both = tensor(512, 80, slot: 1)
    let product = try adapted(x: both.columns(0..<64), h: both.columns(64..<80))
    let plan = ProductPlan(product)
    #expect(plan.isJoined && plan.left == nil && plan.sums == nil)
    #expect(plan.rights.count == 1 && plan.rights[0]?.rows == 256 && plan.rights[0]?.columns == 80)
  }

  @Test func copiesNarrowLeftsTogether() throws {
    let product = try adapted(x: tensor(512, 64, slot: 1), h: tensor(512, 7, slot: 2))
    let plan = ProductPlan(product)
    #expect(plan.isJoined && plan.left?.columns == 71 && plan.left?.stride == 72)
  }

  @Test func sumsUpInFloatWhereCopiesCostMore() throws {
    let product = try adapted(
      m: 64, n: 16, .bf16, x: tensor(64, 4096, slot: 1), h: tensor(64, 8, slot: 2))
    let plan = ProductPlan(product)
    #expect(!plan.isJoined && plan.sums?.dtype == .f32)
    // W is read where it lies, B is f32.
    #expect(plan.rights.map { $0 != nil } == [false, true])
  }

  /// cuBLASLt adds a bias of out's type only.
  @Test(arguments: [DType.bf16, .f32])
  func roundsABiasToTheResultsType(out: DType) throws {
    let both = tensor(512, 80, slot: 1)
    let bias = tensor(1, 256, .f32, slot: 2)
    let product = try adapted(
      x: both.columns(0..<64), h: both.columns(64..<80), out: out, bias: bias)
    let plan = ProductPlan(product)
    #expect(plan.sums == nil && plan.bias?.dtype == (out == .bf16 ? .bf16 : nil))
  }

  @Test func placesDoNotOverlap() throws {
    let bias = tensor(1, 256, .f32, slot: 3)
    let product = try adapted(x: tensor(512, 64, slot: 1), h: tensor(512, 7, slot: 2), bias: bias)
    let plan = ProductPlan(product)
    var end = Gemm.workspaceBytes(m: 512, n: 256)
    let places = ([plan.left, plan.bias] + plan.rights).compactMap(\.self).sorted { $0.offset < $1.offset }
    #expect(places.count == 3)
    for place in places {
      #expect(place.offset >= end && place.offset % Plan.alignment == 0)
      #expect(place.stride * place.dtype.size % 16 == 0 && place.stride >= place.columns)
      end = place.offset + place.rows * place.stride * place.dtype.size
    }
    #expect(end <= plan.bytes)
  }
}
