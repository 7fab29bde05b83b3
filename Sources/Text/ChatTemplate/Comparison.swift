extension Jinja.Value {
  typealias Value = Jinja.Value
  typealias Failure = Jinja.Failure

  /// Python's `==`. Strings are equal when their scalars are, not when they look the same.
  func equals(_ other: Value) throws(Failure) -> Bool {
    var walk = Jinja.Walk()
    return try equals(other, &walk)
  }

  private func equals(_ other: Value, _ walk: inout Jinja.Walk) throws(Failure) -> Bool {
    try walk.enter()
    defer { walk.leave() }
    switch (self, other) {
    case (.undefined, .undefined), (.null, .null): return true
    case (.string(let a), .string(let b)): return a.utf8.elementsEqual(b.utf8)
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      guard a.items.count == b.items.count else { return false }
      for (x, y) in zip(a.items, b.items) where try !x.equals(y, &walk) { return false }
      return true
    case (.dict(let a), .dict(let b)): return try Self.equal(a, b, &walk)
    case (.namespace(let a), .namespace(let b)): return a === b
    case (.loop(let a), .loop(let b)): return a === b
    case (.function(let a), .function(let b)): return a === b
    default:
      if let a = asInt, let b = other.asInt { return a == b }
      if let a = asDouble, let b = other.asDouble { return a == b }
      return false
    }
  }

  private static func equal(
    _ a: Jinja.Dict, _ b: Jinja.Dict, _ walk: inout Jinja.Walk
  ) throws(Failure) -> Bool {
    guard a.entries.count == b.entries.count else { return false }
    for entry in a.entries {
      guard let other = b[try entry.key.dictKey()],
        try entry.value.equals(other, &walk)
      else { return false }
    }
    return true
  }

  /// Python's `is`, as far as values without an identity of their own have one.
  func isSame(as other: Value) throws(Failure) -> Bool {
    switch (self, other) {
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): a === b
    case (.dict(let a), .dict(let b)): a === b
    case (.bool(let a), .bool(let b)): a == b
    case (.bool, _), (_, .bool), (.double, .int), (.int, .double): false
    default: try equals(other)
    }
  }

  /// Python's `<`, `<=`, `>`, `>=`; `sign` is the operator for the message.
  func compare(_ other: Value, _ sign: String) throws(Failure) -> (less: Bool, equal: Bool) {
    var walk = Jinja.Walk()
    return try compare(other, sign, &walk)
  }

  private func compare(
    _ other: Value, _ sign: String, _ walk: inout Jinja.Walk
  ) throws(Failure) -> (less: Bool, equal: Bool) {
    try walk.enter()
    defer { walk.leave() }
    for case .undefined(let missing) in [self, other] { throw Failure(missing.message) }
    if let a = asInt, let b = other.asInt { return (a < b, a == b) }
    if let a = asDouble, let b = other.asDouble { return (a < b, a == b) }
    switch (self, other) {
    case (.string(let a), .string(let b)):
      // UTF-8 keeps the order of the scalars.
      return (a.utf8.lexicographicallyPrecedes(b.utf8), a.utf8.elementsEqual(b.utf8))
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      for (x, y) in zip(a.items, b.items) where try !x.equals(y, &walk) {
        return try x.compare(y, sign, &walk)
      }
      return (a.items.count < b.items.count, a.items.count == b.items.count)
    default:
      throw Failure("'\(sign)' not supported between '\(typeName)' and '\(other.typeName)'")
    }
  }

  /// Python's `in`, with `self` the container.
  func contains(_ item: Value) throws(Failure) -> Bool {
    switch self {
    case .string(let text):
      guard case .string(let part) = item else {
        throw Failure("'in <string>' requires a string on the left, not '\(item.typeName)'")
      }
      return text.range(ofUTF8: part) != nil
    case .dict(let dict): return dict[try item.dictKey()] != nil
    case .null, .bool, .int, .double, .namespace, .function:
      throw Failure("argument of type '\(typeName)' is not iterable")
    default:
      for element in try elements() where try element.equals(item) { return true }
      return false
    }
  }

  /// Sorts stably by keys; all keys must be comparable with one another.
  static func sorted(
    _ items: [Value], by keys: [Value], reversed: Bool
  ) throws(Failure) -> [Value] {
    // A merge sort, because the comparison can throw; equal keys keep their order in either direction.
    var order = Array(items.indices)
    var width = 1
    while width < order.count {
      var merged: [Int] = []
      var start = 0
      while start < order.count {
        let middle = min(start + width, order.count)
        let end = min(start + 2 * width, order.count)
        var (left, right) = (start, middle)
        while left < middle, right < end {
          let (a, b) = (keys[order[left]], keys[order[right]])
          let takeRight = reversed ? try a.compare(b, "<").less : try b.compare(a, "<").less
          merged.append(order[takeRight ? right : left])
          if takeRight { right += 1 } else { left += 1 }
        }
        merged += order[left..<middle]
        merged += order[right..<end]
        start = end
      }
      order = merged
      width *= 2
    }
    return order.map { items[$0] }
  }
}
