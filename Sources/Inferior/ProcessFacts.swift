import Diagnostics
import Glibc
import Tracing

/// What /proc says about a process at one moment (proc(5)).
public struct ProcessFacts: Sendable {
  public let pid: pid_t
  /// At most 15 bytes, chosen by the process itself: for people, not for matching.
  public let comm: String
  /// State letter of the leader: R S D T t Z X.
  public let state: Character
  public let uid: uid_t
  public let tracer: pid_t
  public let threadCount: Int
  /// 0 off, 1 strict, 2 filter (the leader's).
  public let seccomp: Int
  /// The process's number in its own PID namespace.
  public let namespacePID: pid_t
  public let usesShadowStack: Bool

  /// Fails with `process.not_found`, also for the number of a thread that is not a process, and with `process.permission`.
  public init(of pid: pid_t) throws(CodedError) {
    guard pid > 0 else { throw .noSuchProcess(pid) }
    let status: [UInt8]
    do { status = try ProcFile.read("/proc/\(pid)/status", of: pid, to: "look at", limit: 16384) } catch {
      throw error.code == .processGone ? .noSuchProcess(pid) : error
    }
    func text(_ name: StaticString) -> String {
      ProcFile.field(name, of: status).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
    func number(_ name: StaticString) -> UInt64? { ProcFile.field(name, of: status).flatMap(ProcFile.decimal) }
    guard let group = number("Tgid"), group == UInt64(pid) else { throw .noSuchProcess(pid) }
    self.pid = pid
    comm = printable(text("Name"))
    state = text("State").first ?? "?"
    uid = uid_t(truncatingIfNeeded: number("Uid") ?? 0)
    tracer = pid_t(truncatingIfNeeded: number("TracerPid") ?? 0)
    threadCount = Int(number("Threads") ?? 0)
    seccomp = Int(number("Seccomp") ?? 0)
    let spaces = text("NSpid").split(separator: "\t")
    namespacePID = spaces.last.flatMap { pid_t($0) } ?? pid
    usesShadowStack = text("x86_Thread_features").split(separator: " ").contains("shstk")
  }

  /// Field 22 of /proc/PID/stat: start in clock ticks since boot. With the PID it names a process for good.
  /// Fails with `process.gone`, `process.permission`.
  public static func startTime(of pid: pid_t) throws(CodedError) -> UInt64 {
    let stat = try ProcFile.read("/proc/\(pid)/stat", of: pid, to: "look at", limit: 4096)
    // comm may contain blanks and parentheses: count fields from the last parenthesis on. State is field 3.
    guard let close = stat.lastIndex(of: 0x29) else { throw .gone(pid) }
    let fields = stat[(close + 1)...].split(separator: 0x20)
    guard fields.count > 19, let time = ProcFile.decimal(fields[19]) else { throw .gone(pid) }
    return time
  }
}
