// A loss and a loop of one's own: LoRA with the focal loss.
//
//   swift run -c release CustomLoss [UPDATES] [OUTPUT FOLDER]
import Foundation
import Swiftlet

/// The focal loss, -(1 - p)^2 log p, summed over the labels: what the model knows already counts for less
/// (Lin et al., arXiv:1708.02002, eq. 4 with gamma = 2).
///
/// With l = log p, p = e^l and q = 1 - p:  dL/dl = 2 q p l - q^2.
func focalLoss(_ logp: [Double], _ batch: PackedBatch) -> (loss: Double, gradient: [Double]) {
  var loss = 0.0
  var gradient = [Double](repeating: 0, count: logp.count)
  for (row, l) in logp.enumerated() where batch.labels[row] != PackedBatch.ignoredLabel {
    let p = exp(l)
    let q = 1 - p
    loss -= q * q * l
    gradient[row] = 2 * q * p * l - q * q
  }
  return (loss, gradient)
}

let arguments = CommandLine.arguments.dropFirst()
let updates = arguments.first.flatMap { Int($0) } ?? 20
let outputFolder = arguments.dropFirst().first ?? "focal-adapter"
let length = 512
let microBatches = 2

// The model, in the cache after `make model`, with new adapters on all its linear layers.
let model = try LanguageModel("SmolLM2-135M-Instruct.Q4_1.gguf")
var lora = LoRAConfiguration()
(lora.r, lora.alpha) = (16, 32)
try model.addLoRA(lora)
guard let parameters = model.parameters else { exit(1) }

// The data: conversations, as tokens, packed into rows of 512. #filePath: the example runs from any folder.
let examples = URL(filePath: #filePath).appending(path: "../../../..").standardized
var options = DatasetOptions()
options.maxSequenceLength = length
let dataset = try TokenizedDataset.build(
  files: [DataFile(path: examples.appending(path: "Demo/train.jsonl").path)], tokenizer: model.tokenizer,
  chatTemplate: model.chatTemplate, options: options)
let data = BatchPlan(
  dataset, batchSize: 1, rowLength: length, isPacked: true, order: .shuffled(seed: 42),
  paddingID: model.text.paddingID)

// The step, planned with our loss inside, and what updates the adapters.
let step = try GradientStep(
  model.decoder, compute: .bf16, lines: 1, length: length, loss: focalLoss, on: model.backend)
let optimizer = try Optimizer(Optimizer.Settings(), for: parameters, on: model.backend)

// The loop: the gradients of two micro-batches, one update, and again.
var microBatch = 0
for update in 1...max(1, updates) {
  let batches = (0..<microBatches).map { index in
    let (epoch, inEpoch) = (microBatch + index).quotientAndRemainder(dividingBy: data.batchesPerEpoch)
    return data.epoch(epoch)[inEpoch]
  }
  let labels = batches.reduce(0) { $0 + $1.labelCount }
  var loss = 0.0
  for batch in batches {
    loss += try step.run(batch, scale: 1 / Float(labels), seed: 42, microBatch: microBatch) / Double(labels)
    microBatch += 1
  }
  let norm = try optimizer.update(learningRate: 1e-3 * min(1, Double(update) / 5))
  print(
    "update \(update)  focal loss \(String(format: "%.4f", loss))  gradient \(String(format: "%.3f", norm))")
}

// A PEFT adapter folder, for `swiftlet chat --adapter` or for peft itself.
try model.save(to: outputFolder)
print("saved \(outputFolder)")
