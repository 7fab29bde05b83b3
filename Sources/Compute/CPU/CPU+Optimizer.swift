import CKernels

extension CPU {
  public var sumOfSquaresWorkspaceBytes: Int { 0 }

  public func sumOfSquares(_ x: Tensor, sum: Tensor, workspace: Tensor?) {
    let block = Int(SW_SUM_SQUARES_BLOCK)
    let blocks = (x.columns + block - 1) / block
    withUnsafeTemporaryAllocation(of: Double.self, capacity: blocks) { partial in
      let base = partial.baseAddress
      ranges(blocks, elementsEach: block) { sw_sum_squares(x.pointer(), Int64(x.columns), base, $0, $1) }
      sum.pointer()?.pointee = partial.reduce(0.0, +)
    }
  }

  public func adamW(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor
  ) {
    withUnsafePointer(to: update.kernel(numbers)) { step in
      ranges(parameters.columns, elementsEach: 1, multiple: 64) {
        sw_adamw(step, parameters.pointer(), gradients.pointer(), m.pointer(), v.pointer(), $0, $1)
      }
    }
  }

  public func adamW8bit(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, state: AdamW8bitState
  ) {
    let block = AdamW8bitState.block
    withUnsafePointer(to: update.kernel(numbers)) { step in
      let kernel = sw_adamw_8bit_state(
        m: state.m.pointer(), v: state.v.pointer(), m_absmax: state.mScale.pointer(),
        v_absmax: state.vScale.pointer(), m_map: state.mMap.pointer(), v_map: state.vMap.pointer())
      ranges((parameters.columns + block - 1) / block, elementsEach: block) {
        sw_adamw_8bit(
          step, parameters.pointer(), gradients.pointer(), kernel, Int64(parameters.columns), $0, $1)
      }
    }
  }
}

extension AdamW {
  fileprivate func kernel(_ numbers: Tensor) -> sw_adamw_step {
    guard let numbers: UnsafeMutablePointer<Double> = numbers.pointer() else {
      preconditionFailure("numbers without memory")
    }
    var scale = 1.0
    if let maximumNorm { scale = min(1, maximumNorm / (numbers[3].squareRoot() + 1e-6)) }
    return sw_adamw_step(
      learning_rate: numbers[0], beta1: beta1, beta2: beta2, epsilon: epsilon, weight_decay: weightDecay,
      bias_correction1: numbers[1], bias_correction2: numbers[2], gradient_scale: scale)
  }
}
