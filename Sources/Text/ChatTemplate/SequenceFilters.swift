extension Jinja {
  /// Filters of sequences and dicts. Those that Python makes lazily are lists here.
  enum SequenceFilter: String, CaseIterable {
    case length, first, last, list, join, reverse, items, attr
    case map, select, reject, selectattr, rejectattr
    case sort, unique, min, max, sum, dictsort, groupby, batch, slice

    func apply(
      to value: Value, _ arguments: CallArguments, _ interpreter: Interpreter
    ) throws(Failure) -> Value {
      switch self {
      case .map: return .list(try map(try Self.items(of: value), arguments, interpreter))
      case .select, .reject, .selectattr, .rejectattr:
        return .list(try select(try Self.items(of: value), arguments))
      case .sort, .unique, .min, .max, .dictsort, .groupby: return try order(value, arguments)
      case .join:
        let bound = try arguments.bound(to: ["d", "attribute"], in: rawValue)
        var parts: [String] = []
        for item in try value.elements() { parts.append(try item.at(path: bound[1]).text()) }
        return .string(try Filters.joined(parts, by: try bound[0]?.text() ?? ""))
      case .sum:
        let bound = try arguments.bound(to: ["attribute", "start"], in: rawValue)
        var total = bound[1] ?? .int(0)
        for item in try value.elements() {
          total = try interpreter.adopt(try total.arithmetic(.add, try item.at(path: bound[0])))
        }
        return total
      case .attr:
        return try value.attribute(
          try arguments.bound(to: ["name"], in: rawValue).string(0), membersToo: false)
      case .batch, .slice: return .list(try divide(try value.elements(), arguments).map { .list($0) })
      default:
        _ = try arguments.bound(to: [], in: rawValue)
        return try simple(value)
      }
    }

    private func simple(_ value: Value) throws(Failure) -> Value {
      switch self {
      case .length: return .int(try value.count())
      case .first:
        return try value.elements().first ?? .undefined(.because("No first item, sequence was empty."))
      case .last:
        return try value.elements().last ?? .undefined(.because("No last item, sequence was empty."))
      case .reverse:
        if case .string(let text) = value { return .string(string(text.unicodeScalars.reversed())) }
        return .list(try value.elements().reversed())
      case .items:
        if value.isUndefined { return .list([]) }
        guard case .dict(let dict) = value else {
          throw Failure("items expects a mapping, not \(value.typeName)")
        }
        return .list(dict.entries.map { .tuple([$0.key, $0.value]) })
      default: return .list(try value.elements())
      }
    }

    /// `map` and the selecting filters take what is false (`none`, 0...) for an empty sequence.
    private static func items(of value: Value) throws(Failure) -> [Value] {
      value.isTrue ? try value.elements() : []
    }

    private func map(
      _ items: [Value], _ arguments: CallArguments, _ interpreter: Interpreter
    ) throws(Failure) -> [Value] {
      var mapped: [Value] = []
      if arguments.positional.isEmpty, arguments.named.contains(where: { $0.name == "attribute" }) {
        let bound = try arguments.bound(to: ["attribute", "default"], in: rawValue)
        for item in items { mapped.append(try item.at(path: bound[0], else: bound[1])) }
        return mapped
      }
      var rest = arguments
      guard case .string(let name)? = rest.positional.first else {
        throw Failure("map expects a filter's name")
      }
      rest.positional.removeFirst()
      for item in items {
        try interpreter.charge()
        mapped.append(try interpreter.adopt(try Filters.apply(name, item, rest, interpreter)))
      }
      return mapped
    }

    private func select(_ items: [Value], _ arguments: CallArguments) throws(Failure) -> [Value] {
      var rest = arguments
      var path: Value?
      if self == .selectattr || self == .rejectattr {
        guard let first = rest.positional.first else {
          throw Failure("\(rawValue) expects an attribute's name")
        }
        path = first
        rest.positional.removeFirst()
      }
      let test = rest.positional.first
      if test != nil { rest.positional.removeFirst() }
      let wanted = self == .select || self == .selectattr
      var selected: [Value] = []
      for item in items {
        let tested = try item.at(path: path)
        let holds = if let test { try Tests.run(try test.text(), tested, rest) } else { tested.isTrue }
        if holds == wanted { selected.append(item) }
      }
      return selected
    }

    /// `batch`: pieces of so many items. `slice`: so many pieces. Both can fill up.
    private func divide(_ items: [Value], _ arguments: CallArguments) throws(Failure) -> [[Value]] {
      let name = self == .batch ? "linecount" : "slices"
      let bound = try arguments.bound(to: [name, "fill_with"], required: 1, in: rawValue)
      let number = try bound.int(0)
      guard (1...Limits.range).contains(number) else {
        throw Failure("\(rawValue): '\(name)' must be positive")
      }
      let filling: Value? = if case .null? = bound[1] { nil } else { bound[1] }
      if self == .batch {
        var pieces = stride(from: 0, to: items.count, by: number).map {
          Array(items[$0..<Swift.min($0 + number, items.count)])
        }
        if let filling, let last = pieces.last, last.count < number {
          pieces[pieces.count - 1] += repeatElement(filling, count: number - last.count)
        }
        return pieces
      }
      let (whole, extra) = items.count.quotientAndRemainder(dividingBy: number)
      return (0..<number).map { index in
        let start = index * whole + Swift.min(index, extra)
        let piece = Array(items[start..<(start + whole + (index < extra ? 1 : 0))])
        return piece + (index >= extra ? [filling].compactMap { $0 } : [])
      }
    }
  }
}

// MARK: - By attribute

extension Jinja.Value {
  /// The member that `a.b.0` leads to; `self` without a path.
  func at(path: Value?, else standard: Value? = nil) throws(Failure) -> Value {
    guard let path else { return self }
    if case .null = path { return self }
    var value = self
    guard case .string(let text) = path else { return try value.item(path) }
    for part in text.split(separator: ".", omittingEmptySubsequences: false) {
      value = try value.item(Int(part).map { .int($0) } ?? .string(String(part)))
      if value.isUndefined, let standard { value = standard }
    }
    return value
  }

  /// What sorts and groups: texts without regard to case unless asked.
  fileprivate func sortKey(_ caseSensitive: Bool) -> Value {
    if !caseSensitive, case .string(let text) = self { .string(text.lowercased()) } else { self }
  }
}

extension Jinja.SequenceFilter {
  typealias Value = Jinja.Value
  typealias Failure = Jinja.Failure

  fileprivate func order(_ value: Value, _ arguments: Jinja.CallArguments) throws(Failure) -> Value {
    switch self {
    case .sort:
      let bound = try arguments.bound(to: ["reverse", "case_sensitive", "attribute"], in: rawValue)
      var keys: [Value] = []
      let items = try value.elements()
      for item in items { keys.append(try sortKey(of: item, bound[2], bound.flag(1))) }
      return .list(try Value.sorted(items, by: keys, reversed: bound.flag(0)))
    case .dictsort: return try sortDict(value, arguments)
    case .groupby: return try group(value, arguments)
    case .unique:
      let bound = try arguments.bound(to: ["case_sensitive", "attribute"], in: rawValue)
      var seen: Set<Jinja.Dict.Key> = []
      var kept: [Value] = []
      for item in try value.elements() {
        let key = try item.at(path: bound[1]).sortKey(bound.flag(0))
        if seen.insert(try key.dictKey()).inserted { kept.append(item) }
      }
      return .list(kept)
    default: return try extreme(value, arguments)
    }
  }

  /// Several attributes, with commas between them, sort by the first that differs.
  private func sortKey(of item: Value, _ path: Value?, _ caseSensitive: Bool) throws(Failure) -> Value {
    guard case .string(let text)? = path else { return try item.at(path: path).sortKey(caseSensitive) }
    var keys: [Value] = []
    for part in text.split(separator: ",") {
      keys.append(try item.at(path: .string(String(part))).sortKey(caseSensitive))
    }
    return .tuple(keys)
  }

  private func extreme(_ value: Value, _ arguments: Jinja.CallArguments) throws(Failure) -> Value {
    let bound = try arguments.bound(to: ["case_sensitive", "attribute"], in: rawValue)
    let items = try value.elements()
    guard var best = items.first else {
      return .undefined(.because("No aggregated item, sequence was empty."))
    }
    var bestKey = try best.at(path: bound[1]).sortKey(bound.flag(0))
    for item in items.dropFirst() {
      let key = try item.at(path: bound[1]).sortKey(bound.flag(0))
      let better = self == .min ? try key.compare(bestKey, "<").less : try bestKey.compare(key, ">").less
      if better { (best, bestKey) = (item, key) }
    }
    return best
  }

  private func sortDict(_ value: Value, _ arguments: Jinja.CallArguments) throws(Failure) -> Value {
    let bound = try arguments.bound(to: ["case_sensitive", "by", "reverse"], in: rawValue)
    guard case .dict(let dict) = value else {
      throw Failure("dictsort expects a mapping, not \(value.typeName)")
    }
    let by = try bound.optionalString(1) ?? "key"
    guard ["key", "value"].contains(by) else { throw Failure("dictsort: 'by' must be \"key\" or \"value\"") }
    let keys = dict.entries.map { (by == "key" ? $0.key : $0.value).sortKey(bound.flag(0)) }
    let pairs = dict.entries.map { Value.tuple([$0.key, $0.value]) }
    return .list(try Value.sorted(pairs, by: keys, reversed: bound.flag(2)))
  }

  private func group(_ value: Value, _ arguments: Jinja.CallArguments) throws(Failure) -> Value {
    let bound = try arguments.bound(
      to: ["attribute", "default", "case_sensitive"], required: 1, in: rawValue)
    let caseSensitive = bound.flag(2)
    func key(_ item: Value) throws(Failure) -> Value { try item.at(path: bound[0], else: bound[1]) }
    let items = try value.elements()
    var keys: [Value] = []
    for item in items { keys.append(try key(item).sortKey(caseSensitive)) }
    var groups: [(key: Value, items: [Value])] = []
    for item in try Value.sorted(items, by: keys, reversed: false) {
      let itemKey = try key(item)
      if let last = groups.last,
        try last.key.sortKey(caseSensitive).equals(itemKey.sortKey(caseSensitive))
      {
        groups[groups.count - 1].items.append(item)
      } else {
        groups.append((itemKey, [item]))
      }
    }
    return .list(
      groups.map {
        .tuple(Jinja.List([$0.key, .list($0.items)], fields: ["grouper", "list"]))
      })
  }
}
