import CKernels

extension Weight {
  /// What files hold of a double-quantised NF4 matrix beside the two tables.
  public struct NestedNF4Parts {
    /// Two codes a byte, high nibble first, row-major.
    public let codes: [UInt8]
    /// One code per 64 elements.
    public let scales: [UInt8]
    /// One per 256 scales.
    public let absmax: [Float]
    public let offset: Float
  }

  /// Copies of the parts.
  ///
  /// - Precondition: a matrix in the host's memory that `WeightConverter` made, in NF4.
  public func nestedNF4Parts() -> NestedNF4Parts {
    let elements = rows * columns
    precondition(format == .nf4)
    guard let data = layout.data, let codes = layout.absmax_codes, let absmax = layout.nested_absmax else {
      preconditionFailure("the scales are not double-quantised")
    }
    return NestedNF4Parts(
      codes: Array(UnsafeRawBufferPointer(start: data, count: (elements + 1) / 2)),
      scales: Array(UnsafeBufferPointer(start: codes, count: NF4.scaleCount(elements: elements))),
      absmax: Array(UnsafeBufferPointer(start: absmax, count: NF4.nestedScaleCount(elements: elements))),
      offset: layout.nested_offset)
  }
}
