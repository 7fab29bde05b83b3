import Testing

@testable import Compute

struct TensorTests {
  private func row(at address: UInt, _ columns: Int, _ dtype: DType = .f32) -> Tensor {
    Tensor(address: address, rows: 1, columns: columns, stride: columns, dtype: dtype, slot: nil)
  }

  private func areJoined(_ rows: [Tensor?]) -> Bool { Tensor.joined(rows) != nil }

  @Test func joinsRowsThatLieSideBySide() throws {
    let joined = try #require(Tensor.joined([row(at: 64, 3), row(at: 76, 5), row(at: 96, 1)]))
    #expect(joined.address == 64 && joined.shape == (1, 9))
    #expect(Tensor.joined([row(at: 64, 3)])?.columns == 3)
  }

  @Test func joinsNoOthers() {
    #expect(!areJoined([]))
    #expect(!areJoined([nil, row(at: 76, 5)]))
    #expect(!areJoined([row(at: 64, 3), nil]))
    #expect(!areJoined([row(at: 64, 3), row(at: 80, 5)]))
    #expect(!areJoined([row(at: 76, 5), row(at: 64, 3)]))
    #expect(!areJoined([row(at: 64, 3), row(at: 76, 5, .i32)]))
    let two = Tensor(address: 64, rows: 2, columns: 3, stride: 3, dtype: .f32, slot: nil)
    #expect(!areJoined([two, row(at: 76, 5)]))
  }
}
