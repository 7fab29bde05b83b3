import Swiftlet
import Yams

extension JSON {
  /// One YAML document. Mappings keep their order; integers, numbers, truth values and null are told from texts as
  /// YAML 1.1 does.
  ///
  /// - Parameter source: what to name in errors.
  /// - Throws: `.malformedFile` with line and column.
  init(yaml text: String, source: String) throws(SwiftletError) {
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch { throw Self.malformed(error, source) }
    self = try node.map { node throws(SwiftletError) in try JSON(node, source) } ?? .null
  }

  private init(_ node: Node, _ source: String) throws(SwiftletError) {
    switch node {
    case .mapping(let mapping):
      var object: JSON.Object = [:]
      for (key, value) in mapping {
        guard let name = key.scalar?.string else {
          throw Self.malformed("a key must be a text", key.mark, source)
        }
        object[name] = try JSON(value, source)
      }
      self = .object(object)
    case .sequence(let sequence):
      self = .array(try sequence.map { node throws(SwiftletError) in try JSON(node, source) })
    case .scalar(let scalar): self = JSON(scalar, node)
    case .alias: preconditionFailure("composing puts anchored nodes in the place of their aliases")
    }
  }

  private init(_ scalar: Node.Scalar, _ node: Node) {
    let value: JSON? =
      switch node.tag {
      case Tag(.null): JSON.null
      case Tag(.bool): node.bool.map { .bool($0) }
      case Tag(.int): node.int.map { .int($0) }
      case Tag(.float): node.float.map { .double($0) }
      default: nil
      }
    self = value ?? .string(scalar.string)
  }

  private static func malformed(_ error: any Error, _ source: String) -> SwiftletError {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      malformed(problem, mark, source)
    case .duplicatedKeysInMapping(let keys, let context):
      malformed(
        "\(keys.map { "'\($0)'" }.joined(separator: ", ")) stands twice in the mapping that begins here",
        context.mark, source)
    default: SwiftletError(.malformedFile, "\(source): \(error)")
    }
  }

  private static func malformed(_ what: String, _ mark: Mark?, _ source: String) -> SwiftletError {
    let place = mark.map { ", line \($0.line), column \($0.column)" } ?? ""
    return SwiftletError(.malformedFile, "\(source)\(place): \(what)")
  }
}
