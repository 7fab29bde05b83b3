import Compute

/// A case with its operands in a device's memory: NaN surrounds them and fills the arena.
struct PreparedCase {
  private let operation: OpCase
  private let backend: any Backend
  private let memory: [String: OperandMemory]
  private let operands: Operands
  private let plan: Plan
  private let arena: Buffer

  init(_ operation: OpCase, _ host: HostOperands, on backend: any Backend) throws {
    self.operation = operation
    self.backend = backend
    var memory: [String: OperandMemory] = [:]
    for operand in operation.operands {
      if case .weight = operand.element { continue }
      memory[operand.name] = try OperandMemory(operand, host, on: backend)
    }
    self.memory = memory
    let operands = Operands(
      dtype: host.dtype, tensors: memory.mapValues(\.tensor), buffers: memory.mapValues(\.buffer),
      weights: try host.weights.mapValues { try $0.upload(to: backend) })
    self.operands = operands
    plan = Step.plan(on: backend) { _ = Self.run(operation, $0, operands) }
    arena = try backend.upload([UInt8](repeating: poison, count: plan.bytes + guardBytes))
  }

  /// Starts the operation.
  func start() -> [String: any OpResult] {
    Step.run(plan, in: arena, on: backend) { Self.run(operation, $0, operands) }
  }

  /// Waits until everything that was started has ended.
  func synchronize() throws { try backend.synchronize() }

  /// Bytes of all operands.
  var bytes: Int {
    memory.values.reduce(0) { $0 + $1.ownBytes } + operands.weights.values.reduce(0) { $0 + $1.bytes }
  }

  /// Runs the operation; what it left is the results, and what it did to memory that was not its own.
  func run() throws -> (results: [String: Matrix<Double>], damage: [String]) {
    var results: [String: Matrix<Double>] = [:]
    var damage: [String] = []
    let returned = start()
    let arenaAfter = try backend.download(arena)
    if arenaAfter.suffix(guardBytes).contains(where: { $0 != poison }) {
      damage.append("wrote past the arena's end")
    }
    for (name, result) in returned {
      switch result {
      case let tensor as Tensor: results[name] = tensor.elements(in: arenaAfter, of: arena)
      case let number as Double: results[name] = Matrix(rows: 1, columns: 1, elements: [number])
      default: preconditionFailure("\(operation.name): \(name) is no result")
      }
    }
    for (name, memory) in memory {
      let after = try backend.download(memory.buffer)
      if let complaint = memory.complaint(after) { damage.append("\(name): \(complaint)") }
      if memory.operand.isWritten { results[name] = memory.tensor.elements(in: after, of: memory.buffer) }
    }
    return (results, damage)
  }

  private static func run(_ operation: OpCase, _ step: Step, _ operands: Operands) -> [String: any OpResult] {
    let results = operation.run(step, operands)
    for case let tensor as Tensor in results.values { step.keep(tensor) }
    return results
  }
}

/// Every byte of unwritten memory: as floats of any size, NaN.
private let poison: UInt8 = 0xFF
private let guardBytes = 256

/// An operand's memory with poison around it and, where its rows are strided, between them.
private struct OperandMemory {
  let operand: Operand
  let buffer: Buffer
  let tensor: Tensor
  private let before: [UInt8]
  /// The bytes that are the operand's own.
  private let rowStarts: [Int]
  private let rowBytes: Int

  init(_ operand: Operand, _ host: HostOperands, on backend: any Backend) throws {
    self.operand = operand
    let dtype = operand.element.dtype(host.dtype)
    // Multiples of 16 bytes, as the slices of a merged projection have.
    let margin = operand.isStrided ? 16 : 0
    let width = operand.columns + 2 * margin
    let rowStarts = (0..<operand.rows).map { guardBytes + ($0 * width + margin) * dtype.size }
    var bytes = [UInt8](repeating: poison, count: 2 * guardBytes + operand.rows * width * dtype.size)
    if !operand.isPoison, let matrix = host.matrices[operand.name] {
      bytes.withUnsafeMutableBytes { bytes in
        for (row, start) in rowStarts.enumerated() {
          for column in 0..<operand.columns {
            dtype.encode(matrix[row, column], to: bytes.baseAddress! + start + column * dtype.size)
          }
        }
      }
    }
    self.rowStarts = rowStarts
    rowBytes = operand.columns * dtype.size
    before = bytes
    buffer = try backend.upload(bytes)
    tensor = Tensor(buffer, offset: guardBytes, rows: operand.rows, columns: width, dtype: dtype)
      .columns(margin..<margin + operand.columns)
  }

  var ownBytes: Int { rowStarts.count * rowBytes }

  /// What is wrong with `after`, the memory's bytes after the run.
  func complaint(_ after: [UInt8]) -> String? {
    var isOwn = [Bool](repeating: false, count: before.count)
    for start in rowStarts {
      for index in start..<start + rowBytes { isOwn[index] = true }
    }
    for index in before.indices where before[index] != after[index] {
      if !isOwn[index] { return "memory around it was written (byte \(index - guardBytes))" }
      if !operand.isWritten { return "it was changed, though it is only to be read" }
    }
    return nil
  }
}

extension Operand {
  fileprivate var isPoison: Bool {
    if case .poison = content { true } else { false }
  }
}

extension Tensor {
  /// The elements, from a copy of the buffer they lie in.
  fileprivate func elements(in bytes: [UInt8], of buffer: Buffer) -> Matrix<Double> {
    let offset = Int(address - UInt(bitPattern: buffer.base))
    return bytes.withUnsafeBytes { bytes in
      Matrix(rows, columns) { row, column in
        dtype.decode(bytes.baseAddress! + offset + (row * stride + column) * dtype.size)
      }
    }
  }
}
