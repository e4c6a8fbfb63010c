import Diagnostics
import Glibc
import Tracing

/// What the path of a process's control group tells of who started it (cgroups(7)): a unit of systemd, a container engine.
public struct ControlGroup: Equatable, Sendable {
  /// The innermost service or scope.
  public private(set) var unit: String?
  /// The engine's ID, or the name where the engine has only names.
  public private(set) var container: String?
  /// `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `systemd-nspawn`; nil where the path does not tell.
  public private(set) var engine: String?

  public init(of pid: pid_t) { self.init(text: ProcFile.read("/proc/\(pid)/cgroup", limit: 65536) ?? []) }

  /// Lines of `ID:CONTROLLERS:PATH`. The hierarchies that managers name things in come first: the unified one and systemd's.
  init(text: [UInt8]) {
    var paths: [Substring] = []
    let lines = String(decoding: text, as: UTF8.self)
    for line in lines.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3, fields[2].utf8.count > 1 else { continue }
      let isFirst = fields[1].isEmpty || fields[1] == "name=systemd"
      paths.insert(fields[2], at: isFirst ? 0 : paths.count)
    }
    for path in paths {
      let parts = path.split(separator: "/")
      if unit == nil { unit = parts.last { $0.hasSuffix(".service") || $0.hasSuffix(".scope") }.map { printable(String($0)) } }
      if container == nil { findContainer(in: parts) }
    }
  }

  /// The outermost part that names a container: what an engine in a container does is that container's affair.
  private mutating func findContainer(in parts: [Substring]) {
    for (index, part) in parts.enumerated() {
      let parent = index > 0 ? parts[index - 1] : ""
      guard let found = ControlGroup.container(part, below: parent) else { continue }
      container = printable(found.name)
      engine = found.engine
      return
    }
  }

  /// Beginnings of scopes with an ID of 64 digits. The engines' own monitors (`libpod-conmon-…`) have none right behind.
  private static let scopes: [(prefix: String, engine: String)] = [
    ("docker-", "docker"), ("libpod-", "podman"), ("cri-containerd-", "containerd"), ("nerdctl-", "containerd"), ("crio-", "cri-o"),
  ]

  private static func container(_ part: Substring, below parent: Substring) -> (name: String, engine: String?)? {
    for scope in scopes where part.hasPrefix(scope.prefix) {
      return identifier(part.dropFirst(scope.prefix.utf8.count)).map { ($0, scope.engine) }
    }
    // `…/kubepods-pod1.slice:cri-containerd:ID`
    if let colon = part.lastIndex(of: ":"), let id = identifier(part[part.index(after: colon)...]) {
      return (id, part[..<colon].hasSuffix("containerd") ? "containerd" : nil)
    }
    if let id = identifier(part) { return (id, parent == "docker" ? "docker" : nil) }
    if part.hasPrefix("lxc.payload.") { return name(part.dropFirst(12), "lxc") }
    if parent == "lxc" || parent == "lxc.payload" { return name(part, "lxc") }
    if part.hasPrefix("systemd-nspawn@") && part.hasSuffix(".service") { return name(part.dropFirst(15).dropLast(8), "systemd-nspawn") }
    // Virtual machines are registered in the same way.
    if part.hasPrefix("machine-") && part.hasSuffix(".scope") && !part.hasPrefix("machine-qemu") && parent == "machine.slice" {
      return name(part.dropFirst(8).dropLast(6), "systemd-nspawn")
    }
    return nil
  }

  private static func name(_ text: Substring, _ engine: String) -> (name: String, engine: String?)? {
    let name = unescaped(text)
    return name.isEmpty ? nil : (name, engine)
  }

  /// 64 hexadecimal digits, alone or before a dot.
  private static func identifier(_ text: Substring) -> String? {
    let digits = text.prefix { $0 != "." }
    return digits.utf8.count == 64 && digits.allSatisfy { $0.isHexDigit && !$0.isUppercase } ? String(digits) : nil
  }

  /// systemd writes `-` in a name as `\x2d` (systemd-escape(1)).
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == 0x5c, rest.count >= 3, rest.first == 0x78, let value = ProcFile.hexadecimal(rest.dropFirst().prefix(2)) {
        bytes.append(UInt8(truncatingIfNeeded: value))
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
