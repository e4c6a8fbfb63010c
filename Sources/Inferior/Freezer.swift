import Diagnostics
import Glibc
import Tracing

/// The control group that keeps a process from running, whoever asks it to (cgroups(7); `docker pause`, `systemctl freeze`).
///
/// A frozen thread of the unified hierarchy can be stopped and diverted, but makes no step before it is thawed; one of the first
/// version's freezer cannot even be stopped, nor killed.
public struct Freezer: Equatable, Sendable {
  /// The directory of the group that was told to freeze, as this program sees it: the process's own, or one above it.
  public let group: String
  /// What to do about it.
  public let hint: String

  /// Nil when the process is not frozen, or nobody can tell: no control groups are mounted here, or it is in none that we see.
  public init?(of pid: pid_t) {
    guard !Hierarchy.all.isEmpty, let text = ProcFile.read("/proc/\(pid)/cgroup", limit: 65536) else { return nil }
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
    for hierarchy in Hierarchy.all {
      for line in lines {
        let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard fields.count == 3, hierarchy.isMeant(by: fields[1]), let group = hierarchy.frozenGroup(fields[2]) else { continue }
        self.group = group
        hint = Freezer.advice(hierarchy, group, ControlGroup(text: text))
        return
      }
    }
    return nil
  }

  private static func advice(_ hierarchy: Hierarchy, _ group: String, _ owner: ControlGroup) -> String {
    var ways: [String] = []
    if let container = owner.container, let engine = owner.engine, ["docker", "podman"].contains(engine) {
      ways.append("`\(engine) unpause \(container.prefix(12))`")
    } else if let unit = owner.unit, group.hasSuffix("/" + unit) {
      ways.append("`systemctl thaw \(unit)`")
    }
    ways.append("`echo \(hierarchy.isUnified ? "0" : "THAWED") > \(printable(group))/\(hierarchy.file)`")
    return "thaw it (" + ways.joined(separator: " or ") + ") and try again"
  }
}

/// A mounted hierarchy of control groups that can freeze.
struct Hierarchy: Sendable {
  let isUnified: Bool
  /// Where it is mounted, and which group is mounted there: both as this program sees them.
  let mountPoint, root: String

  var file: String { isUnified ? "cgroup.freeze" : "freezer.state" }

  /// Those of this program's mounts, looked up once.
  static let all: [Hierarchy] = parse(ProcFile.read("/proc/self/mountinfo") ?? [])

  /// Lines of `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS` (proc(5)).
  static func parse(_ text: [UInt8]) -> [Hierarchy] {
    var found: [Hierarchy] = []
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else { continue }
      let isUnified = fields[dash + 1] == "cgroup2"
      let isFreezer = fields[dash + 1] == "cgroup" && fields[dash + 3].split(separator: ",").contains("freezer")
      guard isUnified || isFreezer else { continue }
      found.append(Hierarchy(isUnified: isUnified, mountPoint: unescaped(fields[4]), root: unescaped(fields[3])))
    }
    return found
  }

  /// Blanks and their like are octal: `\040`.
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == 0x5c, digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
        bytes.append(digits.reduce(UInt8(0)) { $0 &* 8 &+ ($1 - 0x30) })
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// By the controllers of a line of /proc/PID/cgroup.
  func isMeant(by controllers: Substring) -> Bool {
    isUnified ? controllers.isEmpty : controllers.split(separator: ",").contains("freezer")
  }

  /// The directories of a group and of those above it, innermost first, without the root, which never freezes.
  func directories(of path: Substring) -> [String] {
    var rest = path
    if root != "/" {
      guard rest == root[...] || rest.hasPrefix(root + "/") else { return [] }
      rest = rest.dropFirst(root.count)
    }
    let parts = rest.split(separator: "/")
    // Outside of our namespace of groups: no directory of ours is its.
    if parts.first == ".." { return [] }
    var directories = parts.indices.reversed().map { mountPoint + "/" + parts[...$0].joined(separator: "/") }
    if root != "/" { directories.append(mountPoint) }
    return directories
  }

  /// The innermost group on the way up that was told to freeze.
  func frozenGroup(_ path: Substring) -> String? {
    directories(of: path).first { directory in
      let name = directory + "/" + (isUnified ? "cgroup.freeze" : "freezer.self_freezing")
      return ProcFile.read(name, limit: 16)?.first == UInt8(ascii: "1")
    }
  }
}

extension TargetProcess {
  /// Fails with `process.frozen`, naming the control group.
  func checkThawed() throws(CodedError) {
    guard let freezer = Freezer(of: memory.thread) else { return }
    throw CodedError(
      .processFrozen, "process \(pid) is frozen by the control group \(printable(freezer.group))", hint: freezer.hint,
      data: ["pid": .integer(Int64(pid)), "group": .text(freezer.group)])
  }

  /// The same failure, told by its cause when the process was frozen meanwhile.
  public func explained(_ error: CodedError) -> CodedError {
    guard error.code == .processUnstoppable || error.code == .carrierNone || error.code == .callTimeout,
      let freezer = Freezer(of: memory.thread)
    else { return error }
    var explained = error
    explained.message += "; the control group \(printable(freezer.group)) has frozen it"
    explained.specificHint = freezer.hint
    return explained.with("group", .text(freezer.group))
  }
}
