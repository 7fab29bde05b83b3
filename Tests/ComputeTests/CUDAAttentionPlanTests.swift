import Basics
import CKernels
import Foundation
import Testing

@testable import Compute

/// cuDNN takes the graphs of attention: plans are built for an H200 that is only described, without a GPU.
struct CUDAAttentionPlanTests {
  /// Attention on q, k and v that are columns of one matrix, and on gradients that are columns of another.
  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var heads: Int
    var keyValueHeads: Int
    var headSize: Int
    var sequences: Int
    var longest: Int
    var window: Int?
    var isUniform = false

    var testDescription: String { name + (isUniform ? ", uniform" : ", packed") }

    /// Columns of the matrix beside q, k and v.
    static let margin = 16

    var forward: Attention {
      let (rows, width) = (sequences * longest, heads * headSize)
      let (q, k, v) = columns(of: merged(margin: Self.margin))
      return Attention(
        shape: Attention.Shape(
          heads: heads, keyValueHeads: keyValueHeads, headSize: headSize,
          scale: Float(1 / Double(headSize).squareRoot()), window: window),
        q: q, k: k, v: v,
        segments: Segments(table: tensor(sequences, 4, .i32), longest: longest, isUniform: isUniform),
        out: tensor(rows, width), logsumexp: tensor(rows, heads, .f32))
    }

    var backward: AttentionBackward {
      let (dQ, dK, dV) = columns(of: merged(margin: 0))
      return AttentionBackward(
        forward: forward, dOut: tensor(sequences * longest, heads * headSize), dQ: dQ, dK: dK, dV: dV)
    }

    private func merged(margin: Int) -> Tensor {
      tensor(sequences * longest, (heads + 2 * keyValueHeads) * headSize + margin)
    }

    private func columns(of merged: Tensor) -> (q: Tensor, k: Tensor, v: Tensor) {
      let ends = [heads, heads + keyValueHeads, heads + 2 * keyValueHeads].map { $0 * headSize }
      return (
        merged.columns(0..<ends[0]), merged.columns(ends[0]..<ends[1]), merged.columns(ends[1]..<ends[2])
      )
    }

    /// A tensor as it is while a step is recorded.
    private func tensor(_ rows: Int, _ columns: Int, _ dtype: DType = .bf16) -> Tensor {
      Tensor(address: 0, rows: rows, columns: columns, stride: columns, dtype: dtype, slot: 0)
    }
  }

  static let cases = [
    Case(
      name: "Qwen2-7B, 2 x 4096", heads: 28, keyValueHeads: 4, headSize: 128, sequences: 2, longest: 4096),
    Case(
      name: "Qwen2-7B, 32768", heads: 28, keyValueHeads: 4, headSize: 128, sequences: 1, longest: 32768),
    Case(
      name: "Qwen2.5-0.5B, 8 x 2048", heads: 14, keyValueHeads: 2, headSize: 64, sequences: 8, longest: 2048),
    Case(
      name: "ungrouped, 3 x 1024", heads: 8, keyValueHeads: 8, headSize: 64, sequences: 3, longest: 1024),
    Case(
      name: "a window, 2 x 4096", heads: 32, keyValueHeads: 8, headSize: 128, sequences: 2, longest: 4096,
      window: 1024),
    Case(
      name: "heads of 256, 2 x 1024", heads: 8, keyValueHeads: 1, headSize: 256, sequences: 2, longest: 1024),
  ].flatMap { packed in
    var uniform = packed
    uniform.isUniform = true
    return [packed, uniform]
  }

  /// nil where cuDNN cannot be opened.
  private static let functions = openCuDNN()

  @Test(
    .enabled(
      if: functions != nil,
      "cuDNN or NVRTC cannot be opened: pip install nvidia-cudnn-cu13 nvidia-cuda-nvrtc, python3 on PATH"),
    arguments: cases)
  func buildsPlans(attention: Case) throws {
    let fused = try fusedAttention()
    let (forward, backward) = (attention.forward, attention.backward)
    let rows = forward.q.rows

    let forwardKey = try #require(fused.key(forward, nil))
    let forwardPlan = try CuDNNAttentionPlan(forwardKey, fused.library)
    #expect(forwardKey.isPacked != attention.isUniform)
    // Statistics, tables, and little of cuDNN's own: nothing as large as an operand.
    #expect(forwardPlan.workspace(rows: rows).bytes < rows * attention.heads * 4 + 1 << 16)

    let backwardKey = try #require(fused.key(forward, backward))
    let backwardPlan = try CuDNNAttentionPlan(backwardKey, fused.library)
    // In rows as wide as the merged matrix, at most: dQ's sums in float, dQ, and in bfloat16 either dK and dV, or those of
    // the query and of the key heads. And two numbers for each query and head.
    let merged = rows * ((attention.heads + 2 * attention.keyValueHeads) * attention.headSize + Case.margin)
    let bytes = backwardPlan.workspace(rows: rows).bytes
    #expect(bytes >= rows * attention.heads * attention.headSize * 4)
    #expect(bytes < 10 * merged + 8 * rows * attention.heads + 1 << 16)
    #expect(attention.isUniform == backwardPlan.offsets.isEmpty)
  }

  @Test(.enabled(if: functions != nil, "cuDNN cannot be opened"))
  func leavesToOurKernelWhatCuDNNDoesNotServe() throws {
    let fused = try fusedAttention()
    let served = Self.cases[0]
    var short = served
    short.longest = 32
    #expect(fused.key(short.forward, nil) == nil)
    #expect(fused.key(served.forward.ofPrompt(rows: 63), nil) == nil)
    #expect(fused.key(served.forward.ofPrompt(rows: 64), nil) != nil)
    var odd = served
    odd.headSize = 20
    #expect(fused.key(odd.forward, nil) == nil)
    // Offsets of packed rows are 32-bit.
    var long = served
    (long.longest, long.sequences) = (1 << 19, 1)
    #expect(fused.key(long.forward, nil) == nil)
    long.isUniform = true
    #expect(fused.key(long.forward, nil)?.isPacked == false)

    let ampere = CuDNNAttention(fused.library, computeCapability: (8, 6))
    #expect(ampere.key(served.forward, nil) == nil)
    #expect(ampere.key(Self.cases[1].forward, nil)?.isPacked == false)
    let turing = CuDNNAttention(fused.library, computeCapability: (7, 5))
    #expect(turing.key(Self.cases[1].forward, nil) == nil)
  }

  @Test(.enabled(if: functions != nil, "cuDNN cannot be opened"))
  func remembersWhatCannotBeBuilt() throws {
    let fused = try fusedAttention()
    var key = try #require(fused.key(Self.cases[0].forward, nil))
    #expect(fused.plan(key) != nil)
    key.shape.headSize = 7
    #expect(fused.plan(key) == nil)
    #expect(fused.plan(key) == nil)
  }

  private func fusedAttention() throws -> CuDNNAttention {
    let properties = try String(contentsOf: Self.fixture("h200.json"), encoding: .utf8)
    let library = try CuDNN(try #require(Self.functions), properties: properties)
    return CuDNNAttention(library, computeCapability: (9, 0))
  }

  private static func fixture(_ name: String) -> URL {
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures/\(name)")
  }

  /// cuDNN's functions, with NVRTC and a driver in the process, as plans need them.
  private static func openCuDNN() -> sw_cudnn? {
    let search = LibrarySearch(folders: [])
    var paths: [CUDALibrary: String] = [:]
    guard (try? search.open(.nvrtc)) != nil, (try? search.open(.driver)) != nil || openDriverStub() else {
      return nil
    }
    return try? search.table(.dnn, &paths, sw_cudnn_load)
  }

  /// Compiles a driver that knows no GPU. Once it is in the process, cuDNN finds it by its name.
  private static func openDriverStub() -> Bool {
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let library = folder.appending(path: "libcuda.so.1").path
    let compiler = Process()
    compiler.executableURL = URL(filePath: "/usr/bin/env")
    compiler.arguments = [
      "cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, fixture("driver_stub.c").path,
    ]
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      try compiler.run()
    } catch { return false }
    compiler.waitUntilExit()
    return compiler.terminationStatus == 0 && dlopen(library, RTLD_NOW | RTLD_GLOBAL) != nil
  }
}

extension Attention {
  /// Of the first rows alone, in a context that may have all.
  fileprivate func ofPrompt(rows: Int) -> Attention {
    Attention(
      shape: shape, q: q.rows(0..<rows), k: k.rows(0..<rows), v: v.rows(0..<rows),
      segments: Segments(table: segments.table.rows(0..<1), longest: segments.longest),
      out: out.rows(0..<rows), logsumexp: logsumexp.rows(0..<rows))
  }
}
