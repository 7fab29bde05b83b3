/// Formats of strings that are held to (JSON Schema Validation, section 7.3), as patterns. Others say something to the
/// reader only, which the specification allows.
enum StringFormat: String {
  case date, time, dateTime = "date-time", uuid, email, ipv4

  var pattern: String { "^\(body)$" }

  private var body: String {
    switch self {
    case .date: Self.fullDate
    case .time: Self.fullTime
    case .dateTime: "\(Self.fullDate)T\(Self.fullTime)"
    case .uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    case .email: "[\\w+-]+(\\.[\\w+-]+)*@[a-zA-Z0-9]+([.-][a-zA-Z0-9]+)*\\.[a-zA-Z]{2,12}"
    case .ipv4: "\(Self.octet)(\\.\(Self.octet)){3}"
    }
  }

  /// RFC 3339's full-date. Leap days of years that end a century are left out.
  private static let fullDate = """
    (\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))\
    |\\d\\d([02468][48]|[2468]0|[13579][26])-02-29)
    """
  private static let fullTime =
    "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
  private static let octet = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
}
