import CKernels

extension CPU {
  public func rmsNorm(
    _ x: Tensor, residual: Tensor?, weight: Tensor, epsilon: Float, h: Tensor?, y: Tensor, rstd: Tensor
  ) {
    rows(of: x) {
      sw_rms_norm(
        x.matrix, residual.kernel, weight.pointer(), Double(epsilon), Int64(weight.columns), h.kernel,
        y.matrix,
        rstd.raw, $0, $1)
    }
  }

  public func rmsNormBackward(
    _ dy: Tensor, h: Tensor, weight: Tensor, rstd: Tensor, adding: Tensor?, dh: Tensor, dWeight: Tensor?
  ) {
    let width = Int64(weight.columns)
    // First, for dh may be dy.
    if let dWeight {
      ranges(weight.columns, elementsEach: h.rows * h.columns / weight.columns, multiple: 16) {
        sw_rms_norm_backward_weight(dy.matrix, h.matrix, rstd.raw, width, dWeight.pointer(), $0, $1)
      }
    }
    rows(of: h) {
      sw_rms_norm_backward(
        dy.matrix, h.matrix, weight.pointer(), rstd.raw, width, adding.kernel, dh.matrix, $0, $1)
    }
  }

  public func rotary(
    _ x: Tensor, positions: Tensor, table: RotaryTable, direction: RotaryDirection, y: Tensor
  ) {
    rows(of: x) {
      sw_rotary(
        x.matrix, positions.pointer(), table.cosine.pointer(), table.sine.pointer(), Int64(table.headSize),
        Int64(table.cosine.columns * 2), direction == .forward ? SW_ROTATE_FORWARD : SW_ROTATE_BACKWARD,
        y.matrix, $0, $1)
    }
  }

  public func gatedActivation(_ activation: Activation, gate: Tensor, up: Tensor, y: Tensor) {
    rows(of: gate) { sw_gated_activation(activation.kernel, gate.matrix, up.matrix, y.matrix, $0, $1) }
  }

  public func gatedActivationBackward(
    _ activation: Activation, gate: Tensor, up: Tensor, dy: Tensor, dGate: Tensor, dUp: Tensor
  ) {
    rows(of: gate) {
      sw_gated_activation_backward(
        activation.kernel, gate.matrix, up.matrix, dy.matrix, dGate.matrix, dUp.matrix, $0, $1)
    }
  }

  public func add(_ a: Tensor, _ b: Tensor, y: Tensor) {
    rows(of: a) { sw_add(a.matrix, b.matrix, y.matrix, $0, $1) }
  }

  public func convert(_ x: Tensor, y: Tensor) {
    rows(of: x) { sw_copy(x.matrix, y.matrix, $0, $1) }
  }

  public func dropout(_ x: Tensor, _ dropout: Dropout, y: Tensor) {
    guard let counter: UnsafeMutablePointer<UInt64> = dropout.counter.pointer() else {
      preconditionFailure("a counter without memory")
    }
    let (seed, stream) = (counter[0], counter[1] << 16 | dropout.layer)
    rows(of: x) {
      sw_dropout(
        x.matrix, Double(dropout.probability), seed, stream, Int64(dropout.firstRow), y.matrix, $0, $1)
    }
  }

  public func zero(_ x: Tensor) {
    let size = x.dtype.size
    rows(of: x) { begin, end in
      for row in Int(begin)..<Int(end) {
        x.raw?.advanced(by: row * x.stride * size).initializeMemory(
          as: UInt8.self, repeating: 0, count: x.columns * size)
      }
    }
  }

  public func embedding(ids: Tensor, weight: Weight, y: Tensor) {
    let columns = y.columns
    rows(of: y) { begin, end in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { row in
        withUnsafePointer(to: weight.layout) { layout in
          let decoded = sw_matrix(
            data: row.baseAddress, rows: 1, columns: Int64(columns), stride: Int64(columns), dtype: SW_F32)
          for t in Int(begin)..<Int(end) {
            sw_weight_decode(layout, Int64(ids.pointer(Int32.self)![t]), 0, Int64(columns), row.baseAddress)
            sw_copy(decoded, y.rows(t..<t + 1).matrix, 0, 1)
          }
        }
      }
    }
  }

  public func embeddingBackward(_ dy: Tensor, ids: Tensor, dWeight: Tensor) {
    ranges(dy.columns, elementsEach: dy.rows, multiple: 16) {
      sw_embedding_backward(dy.matrix, ids.pointer(), dWeight.pointer(), $0, $1)
    }
  }

  public func columnSum(_ x: Tensor, sum: Tensor) {
    ranges(x.columns, elementsEach: x.rows, multiple: 16) { sw_column_sum(x.matrix, sum.pointer(), $0, $1) }
  }

  public func crossEntropy(
    _ logits: Tensor, _ slice: VocabularySlice, labels: Tensor, logsumexp: Tensor, loss: Tensor
  ) {
    rows(of: logits) {
      sw_cross_entropy(
        logits.matrix, slice.kernel, labels.pointer(), 0, logsumexp.raw, loss.raw, $0, $1)
    }
  }

  public func crossEntropyBackward(
    _ logits: Tensor, firstColumn: Int, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor,
    dLogits: Tensor
  ) {
    rows(of: logits) {
      sw_cross_entropy_backward(
        logits.matrix, Int64(firstColumn), labels.pointer(), 0, logsumexp.raw, rowWeight.pointer(), 1,
        dLogits.matrix, $0, $1)
    }
  }

  /// Splits the rows of `x` over the threads.
  func rows(of x: Tensor, _ body: (_ begin: Int64, _ end: Int64) -> Void) {
    ranges(x.rows, elementsEach: x.columns, body)
  }
}

extension VocabularySlice {
  /// The slice as the kernels take it.
  var kernel: sw_vocabulary_slice {
    sw_vocabulary_slice(first: Int64(columns.lowerBound), is_last: isLast ? 1 : 0)
  }
}

extension Tensor {
  var raw: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: address) }
}

extension Tensor? {
  /// The kernels' matrix, absent when nil.
  fileprivate var kernel: sw_matrix { self?.matrix ?? sw_matrix() }
}

extension Activation {
  var kernel: sw_activation {
    switch self {
    case .silu: SW_SILU
    case .geluTanh: SW_GELU_TANH
    case .gelu: SW_GELU_ERF
    }
  }
}
