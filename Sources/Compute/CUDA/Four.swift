/// A C array of four, such as kernels have for layers that share an input (MAX_PARTS).
struct Four<Element: BitwiseCopyable>: BitwiseCopyable {
  private var elements: (Element, Element, Element, Element)

  init(_ value: Element) { elements = (value, value, value, value) }

  mutating func set(_ index: Int, _ value: Element) {
    switch index {
    case 0: elements.0 = value
    case 1: elements.1 = value
    case 2: elements.2 = value
    case 3: elements.3 = value
    default: preconditionFailure("at most four layers share an input")
    }
  }
}
