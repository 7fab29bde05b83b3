import Compute
import Foundation

extension OpCase {
  /// The two ends of a model: embedding and loss.
  static var vocabularyCases: [OpCase] {
    StorageFormat.allCases.map { embedding(WeightKind(format: $0), tokens: 9, vocabulary: 11, width: 256) }
      + [
        embedding(WeightKind(format: .nf4, isDoubleQuantised: true), tokens: 3, vocabulary: 70, width: 96),
        trainableEmbedding(tokens: 1, vocabulary: 1, width: 1),
        trainableEmbedding(tokens: 40, vocabulary: 13, width: 75),
        trainableEmbedding(tokens: 90, vocabulary: 1000, width: 300),
        crossEntropy(rows: 1, vocabulary: 1), crossEntropy(rows: 7, vocabulary: 33),
        crossEntropy(rows: 6, vocabulary: 513, scale: 10_000),
        crossEntropy(rows: 12, vocabulary: 300, ignored: 3),
        crossEntropy(rows: 3, vocabulary: 50_001, scale: 20),
        crossEntropy(rows: 9, vocabulary: 1, wide: true),
        crossEntropy(rows: 70, vocabulary: 1030, ignored: 4, wide: true),
        crossEntropy(rows: 14, vocabulary: 9, masked: true),
        crossEntropy(rows: 7, vocabulary: 20_008, ignored: 6, masked: true, wide: true),
        crossEntropy(rows: 6, vocabulary: 5, slice: 1), crossEntropy(rows: 9, vocabulary: 77, slice: 31),
        crossEntropy(rows: 14, vocabulary: 40, masked: true, slice: 8),
        crossEntropy(rows: 70, vocabulary: 20_000, ignored: 4, wide: true, slice: 8192),
      ]
  }

  static func embedding(_ kind: WeightKind, tokens: Int, vocabulary: Int, width: Int) -> OpCase {
    OpCase(
      name: "embedding \(kind) (\(vocabulary), \(width)) of \(tokens)",
      operands: [.ids("ids", tokens, below: vocabulary), .weight("w", vocabulary, width, kind)],
      run: { s, t in ["y": s.embedding(t.ids, t.w, dtype: t.dtype)] },
      reference: { v in ["y": Matrix(tokens, width) { v.w[v.ids[0, $0].integer, $1].stored }] })
  }

  static func trainableEmbedding(tokens: Int, vocabulary: Int, width: Int) -> OpCase {
    OpCase(
      name: "trainable embedding (\(vocabulary), \(width)) of \(tokens)",
      operands: [
        .ids("ids", tokens, below: vocabulary), .parameter("w", vocabulary, width),
        .input("dy", tokens, width), .sum("dw", vocabulary, width),
      ],
      run: { s, t in
        s.embeddingBackward(t.dy, t.ids, addingTo: t.dw)
        return ["y": s.embedding(t.ids, t.parameters("w"), dtype: t.dtype)]
      },
      reference: { v in
        var dw = v.dw
        for row in 0..<tokens {
          let id = v.ids[0, row].integer
          for c in 0..<width { dw[id, c] = dw[id, c].accumulating(v.dy[row, c]) }
        }
        return ["y": Matrix(tokens, width) { v.w[v.ids[0, $0].integer, $1].stored }, "dw": dw]
      },
      gradients: ["w": "dw"])
  }

  /// Loss and gradient, which takes the memory of a copy of the logits.
  ///
  /// - Parameters:
  ///   - ignored: every so-manieth label counts for nothing.
  ///   - masked: every third logit of a row is -inf, and all of every seventh row, whose loss is then no number.
  ///   - wide: logits are of the arithmetic's type.
  ///   - slice: columns that come at a time; nil for all.
  static func crossEntropy(
    rows: Int, vocabulary: Int, scale: Double = 3, ignored: Int? = nil, masked: Bool = false,
    wide: Bool = false, slice: Int? = nil
  ) -> OpCase {
    let options =
      (ignored == nil ? "" : ", some ignored") + (masked ? ", some masked" : "") + (wide ? ", wide" : "")
      + (slice.map { ", \($0) at a time" } ?? "")
    let slices = stride(from: 0, to: vocabulary, by: slice ?? vocabulary).map {
      $0..<min(vocabulary, $0 + (slice ?? vocabulary))
    }
    let element = wide ? Operand.Element.arithmetic : .activation
    return OpCase(
      name: "crossEntropy (\(rows), \(vocabulary)), logits to \(scale)\(options)",
      operands: [
        masked
          ? .maskedLogits(rows, vocabulary, as: element, scale: scale)
          : .input("logits", rows, vocabulary, as: element, scale: scale),
        .values("labels", 1, rows, .i32) { _, row, random in
          let isIgnored = ignored.map { row % $0 == 0 } ?? false
          return Double(isIgnored ? Int(ignoredLabel) : Int.random(in: 0..<vocabulary, using: &random))
        },
        .parameter("weight", 1, rows), .output("loss", 1, rows, as: .arithmetic),
      ],
      run: { s, t in
        let logsumexp = s.make(1, rows, t.loss.dtype)
        for columns in slices {
          s.crossEntropy(
            t.logits.columns(columns), VocabularySlice(columns, of: vocabulary), labels: t.labels,
            logsumexp: logsumexp, loss: t.loss)
        }
        let dlogits = s.make(rows, vocabulary, t.dtype)
        for columns in slices {
          let gradient = s.crossEntropyBackward(
            s.convert(t.logits.columns(columns), to: t.logits.dtype), firstColumn: columns.lowerBound,
            labels: t.labels, logsumexp: logsumexp, rowWeight: t.weight, output: t.dtype)
          s.copy(gradient, into: dlogits.columns(columns))
        }
        return ["logsumexp": logsumexp, "dlogits": dlogits]
      },
      reference: { v in
        let logsumexp = Matrix(1, rows) { _, row in
          let top = (0..<vocabulary).reduce(v.logits[row, 0]) { max($0, v.logits[row, $1]) }
          guard top.value > -.infinity else { return top }
          return top + Uncertain.sum(vocabulary) { v.logits[row, $0].exponential(less: top) }.logarithm
        }
        let labels = (0..<rows).map { v.labels[0, $0].integer }
        return [
          "logsumexp": logsumexp,
          "loss": Matrix(1, rows) { _, row in
            labels[row] < 0 ? Uncertain(0) : logsumexp[0, row] - v.logits[row, labels[row]]
          },
          "dlogits": Matrix(rows, vocabulary) { row, c in
            guard labels[row] >= 0 else { return Uncertain(0) }
            let p = v.logits[row, c].exponential(less: logsumexp[0, row])
            return (v.weight[0, row] * (c == labels[row] ? p - Uncertain(1) : p)).stored
          },
        ]
      },
      // At the extremes the loss is no smooth function at the scale of a difference's step.
      gradients: scale > 100 || masked ? [:] : ["logits": "dlogits"],
      loss: ["loss": "weight"])
  }
}

extension Uncertain {
  /// exp(self - top), exactly 0 where self is -inf and top is not.
  fileprivate func exponential(less top: Uncertain) -> Uncertain {
    value == -.infinity && top.value > -.infinity ? Uncertain(0) : (self - top).exponential
  }
}

extension Operand {
  fileprivate static func maskedLogits(
    _ rows: Int, _ vocabulary: Int, as element: Element, scale: Double
  ) -> Operand {
    Operand(
      name: "logits", rows: rows, columns: vocabulary, element: element,
      content: .computed { row, column, random in
        let isMasked = column % 3 == row % 3 || row % 7 == 2
        return isMasked ? -.infinity : scale * random.uniform()
      }, isStrided: true)
  }

  fileprivate static func ids(_ name: String, _ count: Int, below vocabulary: Int) -> Operand {
    .values(name, 1, count, .i32) { Double(Int.random(in: 0..<vocabulary, using: &$2)) }
  }
}
