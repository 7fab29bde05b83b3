extension Jinja {
  /// The methods of Python's lists; `count` and `index` are those of tuples too.
  enum ListMethod: String {
    case append, extend, insert, pop, remove, reverse, sort, clear, copy, count, index

    var changesTheList: Bool { self != .count && self != .index }

    func call(
      on list: List, _ arguments: CallArguments, _ interpreter: Interpreter
    ) throws(Failure) -> Value {
      switch self {
      case .append: list.items.append(try argument(arguments))
      case .extend: list.items += try argument(arguments).elements()
      case .insert:
        let bound = try arguments.bound(to: ["index", "object"], required: 2, in: rawValue)
        let index = try bound.int(0)
        let place = index < 0 ? max(0, list.items.count + index) : min(index, list.items.count)
        list.items.insert(try bound.value(1), at: place)
      case .pop:
        let index = try arguments.bound(to: ["index"], in: rawValue).int(0, else: -1)
        let place = index < 0 ? list.items.count + index : index
        guard list.items.indices.contains(place) else { throw Failure("pop index out of range") }
        return list.items.remove(at: place)
      case .remove: list.items.remove(at: try place(of: try argument(arguments), in: list))
      case .reverse: list.items.reverse()
      case .sort:
        let bound = try arguments.bound(to: ["reverse"], in: rawValue)
        list.items = try Value.sorted(list.items, by: list.items, reversed: bound.flag(0))
      case .clear: list.items = []
      case .copy: return .list(list.items)
      case .count:
        let wanted = try argument(arguments)
        var count = 0
        for item in list.items where try item.equals(wanted) { count += 1 }
        return .int(count)
      case .index: return .int(try place(of: try argument(arguments), in: list))
      }
      // What was put in may hold the list itself.
      interpreter.remember(list)
      return .null
    }

    private func argument(_ arguments: CallArguments) throws(Failure) -> Value {
      try arguments.bound(to: ["object"], in: rawValue).value(0)
    }

    private func place(of wanted: Value, in list: List) throws(Failure) -> Int {
      for (index, item) in list.items.enumerated() where try item.equals(wanted) { return index }
      throw Failure("\(try wanted.representation()) is not in list")
    }
  }

  /// The methods of Python's dicts.
  enum DictMethod: String {
    case items, keys, values, get, pop, setdefault, update, copy, clear

    func call(
      on dict: Dict, _ arguments: CallArguments, _ interpreter: Interpreter
    ) throws(Failure) -> Value {
      switch self {
      case .items: return .list(dict.entries.map { .tuple([$0.key, $0.value]) })
      case .keys: return .list(dict.entries.map(\.key))
      case .values: return .list(dict.entries.map(\.value))
      case .get:
        let bound = try arguments.bound(to: ["key", "default"], required: 1, in: rawValue)
        return dict[try bound.value(0).dictKey()] ?? bound[1] ?? .null
      case .pop:
        let bound = try arguments.bound(to: ["key", "default"], required: 1, in: rawValue)
        if let value = dict.remove(try bound.value(0).dictKey()) ?? bound[1] { return value }
        throw Failure("no key \(try bound.value(0).representation())")
      case .setdefault:
        let bound = try arguments.bound(to: ["key", "default"], required: 1, in: rawValue)
        if let value = dict[try bound.value(0).dictKey()] { return value }
        try dict.set(try bound.value(0), bound[1] ?? .null)
        interpreter.remember(dict)
        return bound[1] ?? .null
      case .update:
        try dict.update(with: arguments)
        interpreter.remember(dict)
        return .null
      case .copy:
        let copy = Dict()
        for entry in dict.entries { try copy.set(entry.key, entry.value) }
        return .dict(copy)
      case .clear:
        dict.empty()
        return .null
      }
    }
  }
}

extension Jinja.Dict {
  /// `update` and `dict()`: the members of a dict or pairs, then the keywords.
  func update(with arguments: Jinja.CallArguments) throws(Jinja.Failure) {
    if let first = arguments.positional.first {
      if case .dict(let other) = first {
        for entry in other.entries { try set(entry.key, entry.value) }
      } else {
        for pair in try first.elements() {
          let parts = try pair.elements()
          guard parts.count == 2 else { throw Jinja.Failure("expected pairs of key and value") }
          try set(parts[0], parts[1])
        }
      }
    }
    for (name, value) in arguments.named { set(name, value) }
  }
}
