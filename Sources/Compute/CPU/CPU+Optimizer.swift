import CKernels
import Foundation

extension CPU {
  public func sumOfSquares(_ x: Tensor) -> Double {
    let block = Int(SW_SUM_SQUARES_BLOCK)
    let blocks = (x.columns + block - 1) / block
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: blocks) { partial in
      let base = partial.baseAddress
      ranges(blocks, elementsEach: block) { sw_sum_squares(x.pointer(), Int64(x.columns), base, $0, $1) }
      return partial.reduce(0, +)
    }
  }

  public func adamW(_ update: AdamWUpdate, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor) {
    withUnsafePointer(to: update.kernel) { step in
      ranges(parameters.columns, elementsEach: 1, multiple: 64) {
        sw_adamw(step, parameters.pointer(), gradients.pointer(), m.pointer(), v.pointer(), $0, $1)
      }
    }
  }

  public func adamW8bit(
    _ update: AdamWUpdate, parameters: Tensor, gradients: Tensor, state: AdamW8bitState
  ) {
    let block = AdamW8bitState.block
    DynamicMap.signed.withUnsafeBufferPointer { signed in
      DynamicMap.unsigned.withUnsafeBufferPointer { unsigned in
        withUnsafePointer(to: update.kernel) { step in
          let kernel = sw_adamw_8bit_state(
            m: state.m.pointer(), v: state.v.pointer(), m_absmax: state.mScale.pointer(),
            v_absmax: state.vScale.pointer(), m_map: signed.baseAddress, v_map: unsigned.baseAddress)
          ranges((parameters.columns + block - 1) / block, elementsEach: block) {
            sw_adamw_8bit(
              step, parameters.pointer(), gradients.pointer(), kernel, Int64(parameters.columns), $0, $1)
          }
        }
      }
    }
  }
}

extension AdamWUpdate {
  fileprivate var kernel: sw_adamw_step {
    sw_adamw_step(
      learning_rate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon, weight_decay: weightDecay,
      bias_correction1: 1 - pow(beta1, Double(step)), bias_correction2: 1 - pow(beta2, Double(step)),
      gradient_scale: gradientScale)
  }
}
