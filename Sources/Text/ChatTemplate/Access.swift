/// `value.name`, `value[key]` and `value[start:stop:step]`.
extension Jinja.Value {
  /// `value.name`: a method or attribute first, then the member of a dict.
  ///
  /// - Parameter membersToo: whether the member of a dict counts; it does not for the filter `attr`.
  func attribute(_ name: String, membersToo: Bool = true) throws(Failure) -> Value {
    if case .undefined(let missing) = self { throw Failure(missing.message) }
    if let found = method(name) { return found }
    if membersToo, case .dict(let dict) = self, let value = dict[name] { return value }
    return .undefined(.attribute(name, ofType: typeName))
  }

  private func method(_ name: String) -> Value? {
    switch self {
    case .string(let text):
      guard let method = Jinja.StringMethod(rawValue: name) else { return nil }
      return .function(
        Jinja.Function(name) { _, arguments throws(Failure) in try method.call(on: text, arguments) })
    case .list(let list):
      guard let method = Jinja.ListMethod(rawValue: name) else { return nil }
      return .function(
        Jinja.Function(name) { interpreter, arguments throws(Failure) in
          try method.call(on: list, arguments, interpreter)
        })
    case .dict(let dict):
      guard let method = Jinja.DictMethod(rawValue: name) else { return nil }
      return .function(
        Jinja.Function(name) { interpreter, arguments throws(Failure) in
          try method.call(on: dict, arguments, interpreter)
        })
    case .tuple(let list):
      if let place = list.fields.firstIndex(of: name) { return list.items[place] }
      guard let method = Jinja.ListMethod(rawValue: name), !method.changesTheList else { return nil }
      return .function(
        Jinja.Function(name) { interpreter, arguments throws(Failure) in
          try method.call(on: list, arguments, interpreter)
        })
    case .namespace(let namespace): return namespace.attributes[name]
    case .loop(let loop): return loop.attribute(name)
    case .function(let function): return name == "name" ? .string(function.name) : nil
    default: return nil
    }
  }

  /// `value[key]`: the item or member first, then a method or attribute of that name.
  func item(_ key: Value) throws(Failure) -> Value {
    switch self {
    case .undefined(let missing): throw Failure(missing.message)
    case .list(let list), .tuple(let list):
      if let index = key.asInt, let place = Self.place(index, list.items.count) { return list.items[place] }
    case .string(let text):
      if let index = key.asInt, let character = Self.character(index, of: text) { return .string(character) }
    case .dict(let dict):
      if let hash = try? key.dictKey(), let found = dict[hash] { return found }
    default: break
    }
    if case .string(let name) = key {
      return method(name) ?? .undefined(.attribute(name, ofType: typeName))
    }
    return .undefined(.element(try key.representation(), ofType: typeName))
  }

  /// Negative indices count from the end; nil is out of range.
  private static func place(_ index: Int, _ count: Int) -> Int? {
    let place = index < 0 ? index + count : index
    return place >= 0 && place < count ? place : nil
  }

  private static func character(_ index: Int, of text: String) -> String? {
    let scalars = text.unicodeScalars
    // Counting is only needed from the end.
    guard let place = index >= 0 ? index : place(index, scalars.count),
      let at = scalars.index(scalars.startIndex, offsetBy: place, limitedBy: scalars.endIndex),
      at < scalars.endIndex
    else { return nil }
    return String(scalars[at])
  }

  func slice(_ start: Int?, _ stop: Int?, _ step: Int?) throws(Failure) -> Value {
    switch self {
    case .undefined(let missing): throw Failure(missing.message)
    case .list(let list): return .list(try Self.pick(list.items, start, stop, step))
    case .tuple(let list): return .tuple(try Self.pick(list.items, start, stop, step))
    case .string(let text):
      return .string(Jinja.string(try Self.pick(Array(text.unicodeScalars), start, stop, step)))
    default: throw Failure("'\(typeName)' object is not subscriptable")
    }
  }

  /// Python's slice: bounds beyond the ends are cut, negative ones count from the end.
  private static func pick<Element>(
    _ items: [Element], _ start: Int?, _ stop: Int?, _ step: Int?
  ) throws(Failure) -> [Element] {
    let step = step ?? 1
    if step == 0 { throw Failure("slice step cannot be zero") }
    let (lowest, highest) = step > 0 ? (0, items.count) : (-1, items.count - 1)
    func clamp(_ bound: Int?, _ standard: Int) -> Int {
      guard let bound else { return standard }
      return min(max(bound < 0 ? bound + items.count : bound, lowest), highest)
    }
    let first = clamp(start, step > 0 ? lowest : highest)
    let end = clamp(stop, step > 0 ? highest : lowest)
    if step == 1 { return first < end ? Array(items[first..<end]) : [] }
    // A step beyond the length picks one item and must not overflow.
    let stride = max(-items.count - 1, min(items.count + 1, step))
    return Swift.stride(from: first, to: end, by: stride).map { items[$0] }
  }
}
