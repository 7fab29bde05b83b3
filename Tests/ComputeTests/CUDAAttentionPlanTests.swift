import Basics
import CKernels
import Foundation
import Testing

@testable import Compute

/// cuDNN takes the graphs of attention: plans are built for an H200 that is only described, without a GPU.
struct CUDAAttentionPlanTests {
  /// cuDNN, if it can be opened here.
  private static let functions: sw_cudnn? = {
    var paths: [CUDALibrary: String] = [:]
    return try? LibrarySearch(folders: []).table(.dnn, &paths, sw_cudnn_load)
  }()

  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var heads: Int
    var keyValueHeads: Int
    var headSize: Int
    var sequences: Int
    var longest: Int
    var isPacked: Bool
    var window: Int?

    var testDescription: String { name + (isPacked ? ", packed" : ", uniform") }

    /// q, k and v are columns of one matrix, `margin` wider than they are; so are their gradients.
    func key(backward: Bool, margin: Int = 16) -> CuDNNAttentionKey {
      let merged = (heads + 2 * keyValueHeads) * headSize
      let width = isPacked && heads != keyValueHeads ? keyValueHeads * headSize : merged
      return CuDNNAttentionKey(
        shape: Attention.Shape(
          heads: heads, keyValueHeads: keyValueHeads, headSize: headSize,
          scale: Float(1 / Double(headSize).squareRoot()), window: window),
        isPacked: isPacked, sequences: sequences, longest: longest, q: merged + margin, k: merged + margin,
        v: merged + margin, out: heads * headSize,
        gradients: backward
          ? CuDNNAttentionKey.Gradients(dOut: heads * headSize, dQ: merged, dK: width, dV: width) : nil)
    }
  }

  static let cases = [true, false].flatMap { isPacked in
    [
      Case(name: "Qwen2-7B, 4096 x 2", heads: 28, keyValueHeads: 4, headSize: 128, sequences: 2, longest: 4096, isPacked: isPacked),
      Case(name: "Qwen2-7B, 32768", heads: 28, keyValueHeads: 4, headSize: 128, sequences: 1, longest: 32768, isPacked: isPacked),
      Case(name: "Qwen2.5-0.5B, 2048 x 8", heads: 14, keyValueHeads: 2, headSize: 64, sequences: 8, longest: 2048, isPacked: isPacked),
      Case(name: "as many heads, 1024 x 3", heads: 8, keyValueHeads: 8, headSize: 64, sequences: 3, longest: 1024, isPacked: isPacked),
      Case(name: "a window, 4096 x 2", heads: 32, keyValueHeads: 8, headSize: 128, sequences: 2, longest: 4096, isPacked: isPacked, window: 1024),
      Case(name: "heads of 256, 1024 x 2", heads: 8, keyValueHeads: 1, headSize: 256, sequences: 2, longest: 1024, isPacked: isPacked),
    ]
  }

  @Test(
    .enabled(if: functions != nil, "cuDNN cannot be opened: put an environment with nvidia-cudnn-cu13 on PATH"),
    arguments: cases, [false, true])
  func buildsPlans(case: Case, backward: Bool) throws {
    let functions = try #require(Self.functions)
    let path = "\(#filePath)".replacing("CUDAAttentionPlanTests.swift", with: "Fixtures/h200.json")
    let library = try CuDNN(functions, properties: String(contentsOfFile: path, encoding: .utf8))
    let key = `case`.key(backward: backward)
    let plan = try CuDNNAttentionPlan(key, library)
    print("PLAN", `case`.testDescription, backward, plan.plan.workspaceBytes, plan.workspace(rows: `case`.sequences * `case`.longest).bytes >> 20, "MB", plan.offsets.count)
  }
}
