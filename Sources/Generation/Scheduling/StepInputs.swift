import Basics
import Compute

/// What a step reads besides the model: the host writes it before, so that one plan, and one recording, serves all steps of
/// a shape.
struct StepInputs {
  let ids, positions, slots, adapters: Tensor  // (1, rows), i32
  let table: Tensor  // (sequences, 4), i32
  let pages: Tensor  // (sequences, pages of the longest), i32
  let sampledAdapters: Tensor  // (1, samples), i32
  let numbers: Tensor  // (samples, SamplingColumn.count), f32
  let seeds: Tensor  // (samples, 4), i32
  let edits: Tensor?  // (edits, LogitEditColumn.count), i32
  let masks: Tensor?  // (samples, words of a mask), i32

  /// Where each lies, in words.
  struct Layout {
    let ids, positions, slots, adapters, table, pages, sampledAdapters, numbers, seeds, edits,
      masks: Range<Int>
    let words: Int

    init(_ shape: StepShape, pageSize: Int, vocabulary: Int) {
      var end = 0
      func room(_ count: Int) -> Range<Int> {
        let start = end
        end = (start + count + 15) / 16 * 16
        return start..<start + count
      }
      ids = room(shape.rows)
      positions = room(shape.rows)
      slots = room(shape.rows)
      adapters = room(shape.rows)
      table = room(4 * shape.sequences)
      pages = room(shape.sequences * (shape.longest / pageSize))
      sampledAdapters = room(shape.samples)
      numbers = room(shape.samples * SamplingColumn.count)
      seeds = room(shape.samples * 4)
      edits = room(shape.edits * LogitEditColumn.count)
      masks = room(shape.masks ? shape.samples * ((vocabulary + 31) / 32) : 0)
      words = end
    }
  }

  init(_ shape: StepShape, _ layout: Layout, in memory: Buffer) {
    func tensor(_ range: Range<Int>, rows: Int, _ dtype: DType = .i32) -> Tensor {
      Tensor(
        memory, offset: 4 * range.lowerBound, rows: rows, columns: range.count / max(1, rows), dtype: dtype)
    }
    ids = tensor(layout.ids, rows: 1)
    positions = tensor(layout.positions, rows: 1)
    slots = tensor(layout.slots, rows: 1)
    adapters = tensor(layout.adapters, rows: 1)
    table = tensor(layout.table, rows: shape.sequences)
    pages = tensor(layout.pages, rows: shape.sequences)
    sampledAdapters = tensor(layout.sampledAdapters, rows: 1)
    numbers = tensor(layout.numbers, rows: shape.samples, .f32)
    seeds = tensor(layout.seeds, rows: shape.samples)
    edits = shape.edits > 0 ? tensor(layout.edits, rows: shape.edits) : nil
    masks = shape.masks ? tensor(layout.masks, rows: shape.samples) : nil
  }
}
