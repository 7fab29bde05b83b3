import ArgumentParser
import Foundation
import Swiftlet

/// How fast the operations of a training step run at a model's real sizes: time, arithmetic, and the least bytes that
/// memory has to move.
struct BenchOps: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "ops", abstract: "Times the operations of a training step; prints a JSON line each.")

  @OptionGroup var model: ModelName
  @Option(help: "Tokens of a micro-batch.") var tokens: Count = 8192
  @Option(help: "Sequences that they are.") var sequences: Count = 2
  @Option(help: "Rank of the adapters.") var r: Count = 16
  @Option(help: "Where to compute: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
  @Flag(help: "Let products choose their algorithm by time.") var tune = false
  var json: Bool { true }

  func execute() throws {
    let backend = try device.open()
    (backend as? CUDA)?.autotunesProducts = tune
    let spec = try ModelFile(named: model.name).spec()
    let bench = try OperationBench(backend)
    let (T, C, F, R) = (tokens.value, spec.hiddenSize, spec.intermediateSize, r.value)
    let (Q, KV) = (spec.heads * spec.headSize, spec.keyValueHeads * spec.headSize)
    try bench.copy(T, 4 * F)
    let layers = [
      Layer("qkv", C, [Q, KV, KV]), Layer("o", Q, [C]), Layer("gate_up", C, [F, F]), Layer("down", F, [C]),
    ]
    for layer in layers { try bench.linear(layer, tokens: T, rank: R) }
    if backend.float8Refusal == nil {
      for layer in layers { try bench.float8(layer, tokens: T) }
    }
    try bench.attention(spec.attention(layer: 0), sequences: sequences.value, length: T / sequences.value)
    try bench.elementwise(T, hidden: C, feedForward: F, spec.activation)
    try bench.head(rows: min(T, 512), hidden: C, vocabulary: spec.vocabularySize)
    try bench.optimizer(spec.layers * R * (4 * C + 2 * KV + 2 * Q + 3 * (C + F)))
  }

  /// Linear layers that share an input.
  fileprivate struct Layer {
    let name: String
    let inputs: Int
    let outputs: [Int]

    init(_ name: String, _ inputs: Int, _ outputs: [Int]) {
      self.name = name
      self.inputs = inputs
      self.outputs = outputs
    }
  }
}

/// Runs single operations on random numbers.
private final class OperationBench {
  private let backend: any Backend
  private let pool: Buffer
  private var offset = 0

  init(_ backend: any Backend) throws {
    self.backend = backend
    // Numbers in [-1, 1) as bfloat16, over and over; as float32 they are numbers, too.
    let bytes = backend.hasHostMemory ? 1 << 30 : 6 << 30
    pool = try backend.allocate(bytes: bytes)
    let block = (0..<8 << 20).map { _ in
      UInt16(truncatingIfNeeded: Float.random(in: -1..<1).bitPattern >> 16)
    }
    try block.withUnsafeBytes { source in
      for start in stride(from: 0, to: bytes, by: source.count) {
        let part = UnsafeRawBufferPointer(rebasing: source[..<min(source.count, bytes - start)])
        try backend.write(part, to: pool.base + start)
      }
    }
  }

  /// The next stretch of random numbers, so that one operation does not find another's in the cache.
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

  func linear(_ layer: BenchOps.Layer, tokens T: Int, rank: Int) throws {
    let (inputs, outputs) = (layer.inputs, layer.outputs.reduce(0, +))
    let R = rank * layer.outputs.count
    let name = layer.name
    let e = tensor(outputs + R, inputs + R, .bf16)
    let (xh, dydh) = (tensor(T, inputs + R, .bf16), tensor(T, outputs + R, .bf16))
    let (x, dy) = (xh.columns(0..<inputs), dydh.columns(0..<outputs))
    let (h, dh) = (xh.columns(inputs..<inputs + R), dydh.columns(outputs..<outputs + R))
    let flops = { (width: Int, k: Int) in 2 * T * width * k }
    // What goes to the stream is added to it, in float.
    let stream = layer.name == "o" || layer.name == "down" ? tensor(T, outputs, .f32) : nil
    try measure(
      "\(name) y", flops: flops(outputs, inputs + R),
      bytes: 2 * (T + outputs) * (inputs + R) + T * outputs * (stream == nil ? 2 : 8)
    ) { s in s.product(xh, rowsOf: e.rows(0..<outputs), adding: stream, into: stream) }
    try measure(
      "\(name) dx", flops: flops(inputs, outputs + R),
      bytes: 2 * (T + inputs) * (outputs + R) + 2 * T * inputs
    ) { s in s.product(dydh, e.columns(0..<inputs)) }
    try measure("\(name) h", flops: flops(R, inputs), bytes: 2 * T * (inputs + R)) {
      $0.product(x, rowsOf: e.rows(outputs..<outputs + R).columns(0..<inputs), into: h)
    }
    try measure("\(name) dh", flops: flops(R, outputs), bytes: 2 * T * (outputs + R)) {
      $0.product(dy, e.rows(0..<outputs).columns(inputs..<inputs + R), into: dh)
    }
    let dA = tensor(R, inputs, .f32)
    try measure("\(name) dA", flops: flops(R, inputs), bytes: 2 * T * (inputs + R)) {
      $0.linearWeightGradient(dh, x, addingTo: dA)
    }
    var first = 0
    let parts = layer.outputs.enumerated().map { index, width in
      defer { first += width }
      return (
        dy.columns(first..<first + width), h.columns(index * rank..<(index + 1) * rank),
        tensor(width, rank, .f32)
      )
    }
    try measure("\(name) dB", flops: flops(rank, outputs), bytes: 2 * T * (outputs + R)) { s in
      for (dy, h, dB) in parts { s.linearWeightGradient(dy, h, addingTo: dB) }
    }
  }

  /// A frozen layer in float8, as one weight in NF4.
  func float8(_ layer: BenchOps.Layer, tokens T: Int) throws {
    let (inputs, outputs, name) = (layer.inputs, layer.outputs.reduce(0, +), layer.name)
    let floats = Weight(tensor(outputs, inputs, .f32), owner: pool)
    guard let backend = backend as? CUDA else { return }
    let weight = try backend.quantize(floats, to: .nf4)
    let memory = try backend.allocate(bytes: 4 * (outputs + T + inputs + outputs))
    func numbers(_ offset: Int, _ count: Int) -> Tensor {
      Tensor(memory, offset: 4 * offset, rows: 1, columns: count, dtype: .f32)
    }
    let scales = numbers(0, outputs)
    try Step.runOnce(on: backend) { $0.float8Scales(weight, into: scales) }
    let (x, dy) = (tensor(T, inputs, .bf16), tensor(T, outputs, .bf16))
    try measure("\(name) x in float8", bytes: 3 * T * inputs) { _ = $0.float8(x) }
    try measure("\(name) dy in float8", bytes: 3 * T * outputs) { _ = $0.float8(dy, times: scales) }
    let bytes = 3 * inputs * outputs / 2
    try measure("\(name) W in float8", bytes: bytes) {
      _ = $0.float8([weight], scales: scales, transposed: false)
    }
    try measure("\(name) Wᵀ in float8", bytes: bytes) {
      _ = $0.float8([weight], scales: scales, transposed: true)
    }
    func rows(_ count: Int, _ columns: Int, _ offset: Int) -> Float8Rows {
      Float8Rows(codes: tensor(count, columns, .f8), scales: numbers(offset, count))
    }
    let stream = name == "o" || name == "down"
    let y = tensor(T, outputs, stream ? .f32 : .bf16)
    let (xRows, w) = (rows(T, inputs, outputs), rows(outputs, inputs, 0))
    try measure(
      "\(name) y, float8", flops: 2 * T * inputs * outputs,
      bytes: (T + outputs) * inputs + T * outputs * (stream ? 8 : 4)
    ) { $0.product(xRows, rowsOf: w, adding: y, into: y) }
    let dx = tensor(T, inputs, .bf16)
    let (dyRows, wᵀ) = (rows(T, outputs, outputs), rows(inputs, outputs, outputs + T))
    try measure(
      "\(name) dx, float8", flops: 2 * T * inputs * outputs, bytes: (T + inputs) * outputs + 4 * T * inputs
    ) { $0.product(dyRows, rowsOf: wᵀ, adding: dx, into: dx) }
    let (a, h) = (Weight(tensor(48, inputs, .f32), owner: pool), tensor(T, 48, .bf16))
    try measure("\(name) h from A in float", flops: 2 * T * inputs * 48, bytes: 2 * T * inputs) {
      $0.linear(Factor(x, a), into: h)
    }
  }

  func attention(_ shape: Attention.Shape, sequences: Int, length: Int) throws {
    let T = sequences * length
    let (Q, KV) = (shape.heads * shape.headSize, shape.keyValueHeads * shape.headSize)
    let qkv = tensor(T, Q + 2 * KV, .bf16)
    let (q, k, v) = (qkv.columns(0..<Q), qkv.columns(Q..<Q + KV), qkv.columns(Q + KV..<Q + 2 * KV))
    let memory = try backend.allocate(bytes: sequences * 16)
    let table = Tensor(memory, rows: sequences, columns: 4, dtype: .i32)
    try table.write(
      (0..<sequences).flatMap { [$0 * length, length, $0 * length, length] }.map(Int32.init), on: backend)
    let (out, dOut, dQKV) = (tensor(T, Q, .bf16), tensor(T, Q, .bf16), tensor(T, Q + 2 * KV, .bf16))
    // Two products of the visible half of all pairs forward, five backward.
    let pairs = T * length / 2
    for isUniform in [true, false] {
      let segments = Segments(table: table, longest: length, isUniform: isUniform)
      let kind = isUniform ? "uniform" : "packed"
      try measure("attention \(kind)", flops: 4 * pairs * Q, bytes: 2 * T * (2 * Q + 2 * KV)) {
        _ = $0.attention(q, k, v, shape, segments, into: out)
      }
      try measure("attention \(kind), both ways", flops: 14 * pairs * Q, bytes: 2 * T * (6 * Q + 6 * KV)) {
        s in
        let logsumexp = s.attention(q, k, v, shape, segments, into: out).logsumexp
        s.attentionBackward(
          dOut, q: q, k: k, v: v, out: out, logsumexp: logsumexp, shape, segments, dQ: dQKV.columns(0..<Q),
          dK: dQKV.columns(Q..<Q + KV), dV: dQKV.columns(Q + KV..<Q + 2 * KV))
      }
    }
  }

  func elementwise(_ T: Int, hidden C: Int, feedForward F: Int, _ activation: Activation) throws {
    let (x, y, weight) = (tensor(T, C, .f32), tensor(T, C, .bf16), tensor(1, C, .f32))
    let rstd = tensor(T, 1, .f32)
    try measure("rmsNorm", bytes: 6 * T * C) {
      _ = $0.rmsNorm(x, weight, epsilon: 1e-6, output: .bf16, into: y)
    }
    let dx = tensor(T, C, .f32)
    try measure("rmsNormBackward", bytes: 14 * T * C) {
      _ = $0.rmsNormBackward(y, h: x, weight, rstd: rstd, adding: dx, into: dx)
    }
    let (gateUp, dGateUp) = (tensor(T, 2 * F, .bf16), tensor(T, 2 * F, .bf16))
    let (gate, up) = (gateUp.columns(0..<F), gateUp.columns(F..<2 * F))
    let activated = tensor(T, F, .bf16)
    try measure("gatedActivation", bytes: 6 * T * F) {
      _ = $0.gatedActivation(activation, gate: gate, up: up, into: activated)
    }
    try measure("gatedActivationBackward", bytes: 10 * T * F) {
      $0.gatedActivationBackward(
        activation, activated, gate: gate, up: up, dGate: dGateUp.columns(0..<F),
        dUp: dGateUp.columns(F..<2 * F))
    }
  }

  func head(rows: Int, hidden C: Int, vocabulary V: Int) throws {
    let (hidden, weight) = (tensor(rows, C, .bf16), tensor(V, C, .bf16))
    let logits = tensor(rows, V, .f32)
    let product = 2 * rows * V * C
    try measure("head logits", flops: product, bytes: 2 * (rows + V) * C + 4 * rows * V) {
      $0.product(hidden, rowsOf: weight, into: logits)
    }
    let ints = try backend.allocate(bytes: rows * 8)
    let labels = Tensor(ints, rows: 1, columns: rows, dtype: .i32)
    try labels.write((0..<rows).map { Int32($0 % V) }, on: backend)
    let (loss, weights) = (tensor(1, rows, .f32), tensor(1, rows, .f32))
    try measure("crossEntropy, both ways", bytes: 10 * rows * V) { s in
      let logsumexp = s.crossEntropy(logits, labels: labels, loss: loss)
      _ = s.crossEntropyBackward(
        logits, labels: labels, logsumexp: logsumexp, rowWeight: weights, output: .bf16)
    }
  }

  func optimizer(_ count: Int) throws {
    let (p, g) = (tensor(1, count, .f32), tensor(1, count, .f32))
    let (m, v) = (tensor(1, count, .f32), tensor(1, count, .f32))
    let memory = try backend.allocate(bytes: 32)
    let numbers = Tensor(memory, rows: 1, columns: 4, dtype: .f64)
    try numbers.write([1e-4, 0.1, 0.001, 1.0], on: backend)
    try measure("sumOfSquares", bytes: 4 * count) { $0.sumOfSquares(g, into: numbers.columns(3..<4)) }
    try measure("adamW", bytes: 28 * count) {
      $0.adamW(AdamW(), numbers: numbers, parameters: p, gradients: g, m: m, v: v)
    }
  }

  /// - Parameters:
  ///   - flops: 0 where memory alone is the limit.
  ///   - bytes: the least that memory has to move.
  private func measure(
    _ name: String, flops: Int = 0, bytes: Int, repetitions: Int = 20, _ body: (Step) -> Void
  ) throws {
    let plan = Step.plan(on: backend, body)
    let arena = try backend.allocate(bytes: max(plan.bytes, 1))
    for _ in 0..<3 { Step.run(plan, in: arena, on: backend, body) }
    try backend.synchronize()
    let elapsed: Duration = try ContinuousClock().measure {
      for _ in 0..<repetitions { Step.run(plan, in: arena, on: backend, body) }
      try backend.synchronize()
    }
    let seconds = elapsed / .seconds(1) / Double(repetitions)
    func rounded(_ x: Double) -> JSON { .double((x * 10).rounded() / 10) }
    print(
      JSON.object([
        "operation": .string(name), "us": rounded(seconds * 1e6),
        "tflop_s": flops > 0 ? rounded(Double(flops) / seconds / 1e12) : nil,
        "gb_s": rounded(Double(bytes) / seconds / 1e9),
      ]).text(.spaced))
  }
}
