import Foundation

/// What the system says of this process's memory and of the machine's.
public enum ProcessMemory {
  /// Bytes in physical memory now: the heap, and those pages of mapped files that are in use. 0 where the system
  /// does not say.
  public static var resident: Int { status("VmRSS") }

  /// The most bytes that were ever resident.
  public static var peakResident: Int { status("VmHWM") }

  /// Bytes that can be taken without swapping; nil where the system does not say. In a container, what its memory
  /// limit leaves.
  public static var available: Int? {
    let machine = kilobytes(of: "MemAvailable", in: "/proc/meminfo")
    let limit = number(in: "/sys/fs/cgroup/memory.max")
    let used = number(in: "/sys/fs/cgroup/memory.current")
    let container = limit.flatMap { limit in used.map { max(0, limit - $0) } }
    return [machine, container].compactMap(\.self).min()
  }

  private static func status(_ key: String) -> Int { kilobytes(of: key, in: "/proc/self/status") ?? 0 }

  /// The value of a line like "VmRSS:   1234 kB", in bytes.
  private static func kilobytes(of key: String, in path: String) -> Int? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix(key + ":") })
    else { return nil }
    return Int(line.filter(\.isNumber)).map { $0 << 10 }
  }

  private static func number(in path: String) -> Int? {
    (try? String(contentsOfFile: path, encoding: .utf8)).flatMap {
      Int($0.trimmingCharacters(in: .whitespacesAndNewlines))
    }
  }
}
