import Glibc

/// What /proc shows of a process that a receipt compares; see `Receipt`.
struct ProcessShot {
  struct Mapping: Equatable, CustomStringConvertible {
    let range: Range<UInt64>
    let permissions: String
    let path: String
    /// Device and inode, or the name of what is no file. A file that somebody renames or deletes is mapped as before.
    let content: String
    var description: String { "\(hex(range.lowerBound))-\(hex(range.upperBound)) \(permissions) \(path)" }

    static func == (left: Mapping, right: Mapping) -> Bool {
      left.range == right.range && left.permissions == right.permissions && left.content == right.content
    }
  }

  let facts: [(name: String, value: String)]
  let mappings: [Mapping]
  /// Number and what it leads to.
  let descriptors: [Int32: String]

  /// - Parameter thread: a live thread of the process: a leader that has ended shows neither mappings nor descriptors.
  init(_ thread: pid_t) {
    facts = ProcessShot.facts(thread)
    mappings = ProcessShot.mappings(thread)
    descriptors = ProcessShot.descriptors(thread)
  }

  /// Fields of proc(5)'s status that are the process's own settings. SigIgn and SigCgt are its signal actions.
  private static let fields: [(field: StaticString, name: String)] = [
    ("Umask", "umask"), ("SigIgn", "ignored signals"), ("SigCgt", "handled signals"), ("Uid", "user"), ("Gid", "group"),
    ("Groups", "groups"), ("CapInh", "inheritable capabilities"), ("CapPrm", "permitted capabilities"),
    ("CapEff", "effective capabilities"), ("CapBnd", "bounding capabilities"), ("CapAmb", "ambient capabilities"),
    ("NoNewPrivs", "no_new_privs"), ("Seccomp", "seccomp"), ("Seccomp_filters", "seccomp filters"),
    ("THP_enabled", "huge pages"), ("CoreDumping", "dumping core"),
  ]

  private static func facts(_ thread: pid_t) -> [(name: String, value: String)] {
    var facts: [(name: String, value: String)] = []
    let status = ProcFile.read("/proc/\(thread)/status", limit: 65536) ?? []
    for (field, name) in fields {
      guard let value = ProcFile.field(field, of: status) else { continue }
      facts.append((name, String(decoding: value, as: UTF8.self)))
    }
    for (file, name) in [("limits", "limits"), ("timers", "timers"), ("oom_score_adj", "oom_score_adj"), ("personality", "personality"),
      ("coredump_filter", "coredump_filter"), ("comm", "name")] {
      guard let text = ProcFile.read("/proc/\(thread)/\(file)", limit: 65536) else { continue }
      facts.append((name, String(decoding: text, as: UTF8.self)))
    }
    for (link, name) in [("cwd", "working directory"), ("root", "root directory")] {
      guard let target = readLink("/proc/\(thread)/\(link)") else { continue }
      facts.append((name, target))
    }
    return facts
  }

  private static func mappings(_ thread: pid_t) -> [Mapping] {
    var mappings: [Mapping] = []
    for line in (ProcFile.read("/proc/\(thread)/maps") ?? []).split(separator: 0x0a) {
      let fields = line.split(separator: 0x20, maxSplits: 5)
      guard fields.count >= 5, let dash = fields[0].firstIndex(of: 0x2d), let start = ProcFile.hexadecimal(fields[0][..<dash]),
        let end = ProcFile.hexadecimal(fields[0][(dash + 1)...]), start < end
      else { continue }
      let path = fields.count > 5 ? String(decoding: fields[5].drop { $0 == 0x20 }, as: UTF8.self) : ""
      let isFile = !fields[4].elementsEqual([0x30])
      mappings.append(
        Mapping(
          range: start..<end, permissions: String(decoding: fields[1], as: UTF8.self), path: path,
          content: isFile ? String(decoding: fields[3] + [0x20] + fields[4], as: UTF8.self) : path))
    }
    return mappings
  }

  private static func descriptors(_ thread: pid_t) -> [Int32: String] {
    let directory = open("/proc/\(thread)/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return [:] }
    defer { close(directory) }
    var found: [Int32: String] = [:]
    for number in ThreadList.numbers(in: directory) { found[number] = readLink("/proc/\(thread)/fd/\(number)") ?? "?" }
    return found
  }

  private static func readLink(_ path: String) -> String? {
    var length = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
      buffer.withMemoryRebound(to: CChar.self) { length = readlink(path, $0.baseAddress!, $0.count) }
      count = max(length, 0)
    }
    return length >= 0 ? String(decoding: bytes, as: UTF8.self) : nil
  }
}
