import CKernels

extension CPU {
  public var attendsFasterOutsidePages: Bool { false }

  public func workspaceBytes(_ attention: Attention) -> Int {
    var kernel = attention.kernel
    return Self.padded(sw_attention_scratch_bytes(&kernel)) * threads
  }

  public func run(_ attention: Attention, workspace: Tensor?) {
    let kernel = attention.kernel
    withUnsafePointer(to: kernel) { kernel in
      let each = Self.padded(sw_attention_scratch_bytes(kernel))
      tasks(Int(sw_attention_tasks(kernel))) { task, thread in
        sw_attention_forward(kernel, Int64(task), Self.part(thread, each, of: workspace))
      }
    }
  }

  public func workspaceBytes(_ backward: AttentionBackward) -> Int {
    var kernel = backward.forward.kernel
    let longest = Int64(backward.forward.segments.longest)
    return Self.padded(sw_attention_backward_scratch_bytes(&kernel, longest)) * threads
  }

  public func run(_ backward: AttentionBackward, workspace: Tensor?) {
    let kernel = backward.forward.kernel
    let gradients = sw_attention_gradients(
      d_o: backward.dOut.matrix, d_q: backward.dQ.matrix, d_k: backward.dK.matrix, d_v: backward.dV.matrix)
    withUnsafePointer(to: kernel) { kernel in
      withUnsafePointer(to: gradients) { gradients in
        let longest = Int64(backward.forward.segments.longest)
        let each = Self.padded(sw_attention_backward_scratch_bytes(kernel, longest))
        tasks(Int(sw_attention_backward_tasks(kernel))) { task, thread in
          sw_attention_backward(kernel, gradients, Int64(task), Self.part(thread, each, of: workspace))
        }
      }
    }
  }

  private static func padded(_ bytes: Int64) -> Int { (Int(bytes) + 63) / 64 * 64 }

  private static func part(_ thread: Int, _ bytes: Int, of workspace: Tensor?) -> UnsafeMutableRawPointer? {
    workspace.flatMap { UnsafeMutableRawPointer(bitPattern: $0.address + UInt(thread * bytes)) }
  }
}

extension Attention {
  /// The operation as kernels take it.
  var kernel: sw_attention {
    var a = sw_attention()
    a.q = q.matrix
    a.k = k.matrix
    a.v = v.matrix
    a.o = out.matrix
    a.logsumexp = UnsafeMutableRawPointer(bitPattern: logsumexp.address)
    a.segments = UnsafePointer(bitPattern: segments.table.address)
    a.segment_count = Int64(segments.table.rows)
    a.head_size = Int64(shape.headSize)
    a.heads = Int32(shape.heads)
    a.kv_heads = Int32(shape.keyValueHeads)
    a.scale = Double(shape.scale)
    a.window = Int64(shape.window ?? 0)
    return a
  }
}
