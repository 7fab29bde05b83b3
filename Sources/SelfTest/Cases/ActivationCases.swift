import Compute
import Foundation

extension OpCase {
  static var activationCases: [OpCase] {
    Activation.allCases.flatMap { activation in
      [
        gatedActivation(activation, 1, 1), gatedActivation(activation, 5, 99),
        gatedActivation(activation, 200, 130), gatedActivation(activation, 3, 64, inPlace: true),
      ]
    }
  }

  static func gatedActivation(
    _ activation: Activation, _ rows: Int, _ columns: Int, inPlace: Bool = false
  ) -> OpCase {
    OpCase(
      name: "\(activation) gate (\(rows), \(columns))\(inPlace ? " in place" : "")",
      operands: [
        .input("gate", rows, columns, scale: 8), .input("up", rows, columns), .input("dy", rows, columns),
      ] + (inPlace ? [] : [.output("dgate", rows, columns), .output("dup", rows, columns)]),
      run: { s, t in
        let y = s.gatedActivation(activation, gate: t.gate, up: t.up)
        guard inPlace else {
          s.gatedActivationBackward(
            activation, t.dy, gate: t.gate, up: t.up, dGate: t.dgate, dUp: t.dup)
          return ["y": y]
        }
        let (gate, up) = (s.convert(t.gate, to: t.dtype), s.convert(t.up, to: t.dtype))
        s.gatedActivationBackward(activation, t.dy, gate: gate, up: up, dGate: gate, dUp: up)
        return ["y": y, "dgate": gate, "dup": up]
      },
      reference: { v in
        let act = v.gate.map { activation.reference($0) }
        return [
          "y": Matrix(rows, columns) { (act[$0, $1].value * v.up[$0, $1]).stored },
          "dgate": Matrix(rows, columns) { (v.dy[$0, $1] * v.up[$0, $1] * act[$0, $1].slope).stored },
          "dup": Matrix(rows, columns) { (v.dy[$0, $1] * act[$0, $1].value).stored },
        ]
      },
      gradients: ["gate": "dgate", "up": "dup"])
  }
}

extension Activation {
  /// act(x) and act'(x).
  func reference(_ x: Uncertain) -> (value: Uncertain, slope: Uncertain) {
    let one = Uncertain(1)
    func sigmoid(_ x: Uncertain) -> Uncertain { one / (one + (-x).exponential) }
    switch self {
    case .silu:
      let sigma = sigmoid(x)
      return (x * sigma, sigma * (one + x * (one - sigma)))
    case .geluTanh:
      // (1 + tanh u) / 2 = sigmoid(2u)
      let a = Uncertain.constant(2 * (2 / Double.pi).squareRoot())
      let b = Uncertain.constant(0.044715)
      let sigma = sigmoid(a * (x + b * x * x * x))
      let du = a * (one + Uncertain(3) * b * x * x)
      return (x * sigma, sigma * (one + x * (one - sigma) * du))
    case .gelu:
      // In float, Abramowitz & Stegun's 7.1.26 errs by up to 3e-7, six unit roundoffs; in double the margin
      // is erfc's.
      let phi = Uncertain(0.5 * erfc(-x.value / 2.0.squareRoot())).approximated(within: 6)
      let density = (-0.5 * (x * x)).exponential * .constant(1 / (2 * Double.pi).squareRoot())
      return (x * phi, phi + x * density)
    }
  }
}
