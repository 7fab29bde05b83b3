import Basics

extension Jinja {
  /// A value as templates see it. Lists, dicts and namespaces are references, as in Python.
  enum Value {
    case undefined(Missing)
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    case list(List)
    case tuple(List)
    case dict(Dict)
    case namespace(Namespace)
    case loop(Loop)
    case function(Function)
  }

  /// Why a value is undefined; the message is only made when it is needed.
  enum Missing {
    case name(String)
    case attribute(String, ofType: String)
    case element(String, ofType: String)
    case because(String)

    var message: String {
      switch self {
      case .name(let name): "'\(name)' is undefined"
      case .attribute(let name, let type): "'\(Self.object(type))' has no attribute '\(name)'"
      case .element(let key, let type): "\(Self.object(type)) has no element \(key)"
      case .because(let reason): reason
      }
    }

    private static func object(_ type: String) -> String { type == "NoneType" ? "None" : type + " object" }
  }

  /// Something that can refer to itself; the interpreter empties all of them when it is done, so that no
  /// cycle leaks and no deep nest is freed recursively.
  class Container {
    func empty() {}
  }

  final class List: Container {
    var items: [Value]
    /// Names of the items, for the tuples that `groupby` makes.
    let fields: [String]

    init(_ items: [Value], fields: [String] = []) {
      self.items = items
      self.fields = fields
    }

    override func empty() { items = [] }
  }

  /// A dict in order of insertion.
  final class Dict: Container {
    /// A key: Python takes 1, 1.0 and True for the same, and strings for different that only look the same.
    enum Key: Hashable {
      case undefined
      case none
      case int(Int)
      case double(Double)
      case string(ByteKey)
      case tuple([Key])
    }

    private(set) var entries: [(key: Value, value: Value)] = []
    private var places: [Key: Int] = [:]

    subscript(name: String) -> Value? { self[.string(ByteKey(name))] }

    subscript(key: Key) -> Value? { places[key].map { entries[$0].value } }

    func set(_ key: Value, _ value: Value) throws(Failure) { set(try key.dictKey(), key, value) }

    func set(_ name: String, _ value: Value) { set(.string(ByteKey(name)), .string(name), value) }

    private func set(_ hash: Key, _ key: Value, _ value: Value) {
      if let place = places[hash] {
        entries[place].value = value
      } else {
        places[hash] = entries.count
        entries.append((key, value))
      }
    }

    func remove(_ key: Key) -> Value? {
      guard let place = places.removeValue(forKey: key) else { return nil }
      for (other, index) in places where index > place { places[other] = index - 1 }
      return entries.remove(at: place).value
    }

    override func empty() {
      entries = []
      places = [:]
    }
  }

  final class Namespace: Container {
    var attributes: [String: Value]
    init(_ attributes: [String: Value] = [:]) { self.attributes = attributes }
    override func empty() { attributes = [:] }
  }

  /// A macro, a method bound to its object, or a global function.
  final class Function {
    typealias Body = (Interpreter, CallArguments) throws(Failure) -> Value
    let name: String
    let body: Body

    init(_ name: String, _ body: @escaping Body) {
      self.name = name
      self.body = body
    }
  }

  /// The variables of a block; what is not found in it is looked up in its parent.
  final class Scope: Container {
    var variables: [String: Value] = [:]
    let parent: Scope?

    init(_ parent: Scope?) { self.parent = parent }

    func lookup(_ name: String) -> Value? {
      var scope: Scope? = self
      while let current = scope {
        if let value = current.variables[name] { return value }
        scope = current.parent
      }
      return nil
    }

    override func empty() { variables = [:] }
  }
}

extension Jinja.Value {
  /// The name of the type in Python, which error messages use.
  var typeName: String {
    switch self {
    case .undefined: "Undefined"
    case .null: "NoneType"
    case .bool: "bool"
    case .int: "int"
    case .double: "float"
    case .string: "str"
    case .list: "list"
    case .tuple: "tuple"
    case .dict: "dict"
    case .namespace: "Namespace"
    case .loop: "LoopContext"
    case .function: "function"
    }
  }

  var isUndefined: Bool { if case .undefined = self { true } else { false } }

  var isTrue: Bool {
    switch self {
    case .undefined, .null: false
    case .bool(let value): value
    case .int(let value): value != 0
    case .double(let value): value != 0
    case .string(let value): !value.isEmpty
    case .list(let list), .tuple(let list): !list.items.isEmpty
    case .dict(let dict): !dict.entries.isEmpty
    case .namespace, .loop, .function: true
    }
  }

  /// Integers, and the two booleans, which are integers in Python.
  var asInt: Int? {
    switch self {
    case .int(let value): value
    case .bool(let value): value ? 1 : 0
    default: nil
    }
  }

  var asDouble: Double? {
    if case .double(let value) = self { value } else { asInt.map { Double($0) } }
  }

  var asString: String? { if case .string(let value) = self { value } else { nil } }

  /// The value as a key of a dict.
  func dictKey() throws(Jinja.Failure) -> Jinja.Dict.Key {
    switch self {
    case .undefined: return .undefined
    case .null: return .none
    case .bool(let value): return .int(value ? 1 : 0)
    case .int(let value): return .int(value)
    case .double(let value): return Int(exactly: value).map { .int($0) } ?? .double(value)
    case .string(let value): return .string(ByteKey(value))
    case .tuple(let list):
      var keys: [Jinja.Dict.Key] = []
      for item in list.items { keys.append(try item.dictKey()) }
      return .tuple(keys)
    default: throw Jinja.Failure("unhashable type: '\(typeName)'")
    }
  }

  /// What iterating gives: items, keys of a dict, characters of a string; nothing for an undefined value.
  func elements() throws(Jinja.Failure) -> [Jinja.Value] {
    switch self {
    case .undefined: return []
    case .list(let list), .tuple(let list): return list.items
    case .dict(let dict): return dict.entries.map(\.key)
    case .string(let text): return text.unicodeScalars.map { .string(String($0)) }
    case .loop(let loop): return loop.items
    default: throw Jinja.Failure("'\(typeName)' object is not iterable")
    }
  }

  func count() throws(Jinja.Failure) -> Int {
    switch self {
    case .undefined: return 0
    case .list(let list), .tuple(let list): return list.items.count
    case .dict(let dict): return dict.entries.count
    case .string(let text): return text.unicodeScalars.count
    case .loop(let loop): return loop.items.count
    default: throw Jinja.Failure("object of type '\(typeName)' has no len()")
    }
  }

  static func list(_ items: [Jinja.Value]) -> Jinja.Value { .list(Jinja.List(items)) }
  static func tuple(_ items: [Jinja.Value]) -> Jinja.Value { .tuple(Jinja.List(items)) }

  /// Arguments and conversations come in as JSON.
  init(_ json: JSON) {
    switch json {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .int(let value): self = .int(value)
    case .double(let value): self = .double(value)
    case .string(let value): self = .string(value)
    case .array(let values): self = .list(values.map { Jinja.Value($0) })
    case .object(let members):
      let dict = Jinja.Dict()
      for (key, value) in members { dict.set(key, Jinja.Value(value)) }
      self = .dict(dict)
    }
  }
}
