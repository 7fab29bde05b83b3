import ArgumentParser
import Foundation
import Swiftlet

/// How fast the operations of a training step run at a model's real sizes, and how near to what the device can do.
struct BenchOps: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "ops", abstract: "Times the operations of a training step; prints a JSON line each.")

  @OptionGroup var model: ModelName
  @Option(help: "Tokens of a micro-batch.") var tokens: Count = 8192
  @Option(help: "Rank of the adapters.") var r: Count = 16
  @Option(help: "Where to compute: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
  @Flag(help: "Let products choose their algorithm by time.") var tune = false
  var json: Bool { true }

  func execute() throws {
    let backend = try device.open()
    (backend as? CUDA)?.autotunesProducts = tune
    let bench = try OperationBench(backend)
    let spec = try ModelFile(named: model.name).spec()
    let (T, C, F, R) = (tokens.value, spec.hiddenSize, spec.intermediateSize, r.value)
    let (Q, KV) = (spec.heads * spec.headSize, spec.keyValueHeads * spec.headSize)
    try bench.copy(T, 4 * F)
    let layers = [("qkv", C, Q + 2 * KV, 3), ("o", Q, C, 1), ("gate_up", C, 2 * F, 2), ("down", F, C, 1)]
    for (name, inputs, outputs, parts) in layers {
      let ranks = parts * R
      let adds = name == "o" || name == "down"
      for stride in [0, 64] {
        try bench.product(
          "\(name) forward pad \(stride)", T, outputs, inputs + ranks, rows: true, adds: adds, pad: stride)
        try bench.product(
          "\(name) backward pad \(stride)", T, inputs, outputs + ranks, rows: false, adds: false, pad: stride)
      }
      try bench.product("\(name) h", T, ranks, inputs, rows: true, adds: false, pad: 0)
      try bench.product("\(name) dh", T, ranks, outputs, rows: false, adds: false, pad: 0)
      try bench.weightGradient("\(name) dA", T, ranks, inputs)
      try bench.weightGradient("\(name) dB", T, outputs / parts, R)
    }
  }
}

/// Runs single operations on random numbers.
private final class OperationBench {
  private let backend: any Backend
  private let pool: Buffer

  init(_ backend: any Backend) throws {
    self.backend = backend
    // Numbers in [-1, 1) as bfloat16, over and over; as float32 they are numbers, too.
    let bytes = 6 << 30
    pool = try backend.allocate(bytes: bytes)
    let block = (0..<8 << 20).map { _ in UInt16(truncatingIfNeeded: Float.random(in: -1..<1).bitPattern >> 16)
    }
    try block.withUnsafeBytes { source in
      for start in stride(from: 0, to: bytes, by: source.count) {
        try backend.write(
          UnsafeRawBufferPointer(rebasing: source[..<min(source.count, bytes - start)]), to: pool.base + start
        )
      }
    }
  }

  private var offset = 0
  private func tensor(_ rows: Int, _ columns: Int, _ dtype: DType) -> Tensor {
    let bytes = (rows * columns * dtype.size + 255) / 256 * 256
    if offset + bytes > pool.count { offset = 0 }
    defer { offset += bytes }
    return Tensor(pool, offset: offset, rows: rows, columns: columns, dtype: dtype)
  }

  func copy(_ rows: Int, _ columns: Int) throws {
    let (x, y) = (tensor(rows, columns, .bf16), tensor(rows, columns, .bf16))
    try measure("copy", bytes: 4 * rows * columns) { $0.copy(x, into: y) }
  }

  func product(_ name: String, _ m: Int, _ n: Int, _ k: Int, rows: Bool, adds: Bool, pad: Int) throws {
    func padded(_ c: Int) -> Int { pad == 0 ? c : (c + pad - 1) / pad * pad }
    let x = tensor(m, padded(k), .bf16).columns(0..<k)
    let w = rows ? tensor(n, padded(k), .bf16).columns(0..<k) : tensor(k, padded(n), .bf16).columns(0..<n)
    let residual = adds ? tensor(m, n, .f32) : nil
    let out = tensor(m, n, adds ? .f32 : .bf16)
    try measure(name, flops: 2 * m * n * k, bytes: 2 * (m * k + n * k) + m * n * (adds ? 8 : 2)) { s in
      if rows {
        s.product(x, rowsOf: w, adding: residual, into: out)
      } else {
        s.product(x, w, adding: residual, into: out)
      }
    }
  }

  func weightGradient(_ name: String, _ t: Int, _ out: Int, _ inputs: Int) throws {
    let (dy, x, dw) = (tensor(t, out, .bf16), tensor(t, inputs, .bf16), tensor(out, inputs, .f32))
    try measure(name, flops: 2 * t * out * inputs, bytes: 2 * t * (out + inputs)) {
      $0.linearWeightGradient(dy, x, addingTo: dw)
    }
  }

  private func measure(_ name: String, flops: Int = 0, bytes: Int, _ body: (Step) -> Void) throws {
    let plan = Step.plan(on: backend, body)
    let arena = try backend.allocate(bytes: max(plan.bytes, 1))
    for _ in 0..<3 { Step.run(plan, in: arena, on: backend, body) }
    try backend.synchronize()
    let count = 20
    let elapsed: Duration = try ContinuousClock().measure {
      for _ in 0..<count { Step.run(plan, in: arena, on: backend, body) }
      try backend.synchronize()
    }
    let seconds = elapsed / .seconds(1) / Double(count)
    func rounded(_ x: Double) -> JSON { .double((x * 10).rounded() / 10) }
    print(
      JSON.object([
        "operation": .string(name), "us": rounded(seconds * 1e6),
        "tflops": flops > 0 ? rounded(Double(flops) / seconds / 1e12) : nil,
        "gb_s": rounded(Double(bytes) / seconds / 1e9),
      ]).text(.spaced))
  }
}
