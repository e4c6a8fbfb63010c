import Diagnostics
import Glibc

extension CodedError {
  public static func noSuchProcess(_ pid: pid_t) -> CodedError {
    CodedError(.processNotFound, "there is no process \(pid)", data: ["pid": .integer(Int64(pid))])
  }

  public static func gone(_ pid: pid_t) -> CodedError {
    CodedError(.processGone, "process \(pid) has ended", data: ["pid": .integer(Int64(pid))])
  }

  /// Its memory is another program's.
  public static func replaced(_ pid: pid_t) -> CodedError {
    CodedError(.processExec, "process \(pid) has executed another program", data: ["pid": .integer(Int64(pid))])
  }

  public static func permission(_ pid: pid_t, _ action: String, errno number: Int32) -> CodedError {
    CodedError(
      .processPermission, "cannot \(action) process \(pid): \(errnoText(number))", hint: hint(forLackOf: number),
      data: ["pid": .integer(Int64(pid)), "errno": .integer(Int64(number))])
  }

  /// What helps when it is not a right that is missing (open(2)).
  static func hint(forLackOf number: Int32) -> String? {
    switch number {
    case EMFILE: "close handles, or raise the limit of open files (`ulimit -n`)"
    case ENFILE: "the whole machine has run out of open files: look at /proc/sys/fs/file-nr"
    case ENOMEM, EAGAIN: "the kernel has no memory to spare for it: look at /proc/meminfo, and try again"
    default: nil
    }
  }

  static func unlistable(_ pid: pid_t, errno number: Int32) -> CodedError { .permission(pid, "list the threads of", errno: number) }

  static func unstoppable(_ tid: pid_t, of pid: pid_t) -> CodedError {
    let state = ThreadList.state(of: tid, in: pid).map { String(UnicodeScalar($0)) } ?? "?"
    return CodedError(
      .processUnstoppable, "thread \(tid) of process \(pid) did not stop in time (state \(state)); all threads were let go",
      data: ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid)), "thread_state": .text(state)])
  }

  /// Why PTRACE_SEIZE said EPERM or ESRCH: told apart by /proc/PID/status.
  static func seizeRefused(_ tid: pid_t, of pid: pid_t, errno number: Int32) -> CodedError {
    if number == ESRCH || number == ECHILD { return .gone(pid) }
    if let status = ProcFile.read("/proc/\(pid)/task/\(tid)/status", limit: 8192),
      let tracer = ProcFile.field("TracerPid", of: status).flatMap(ProcFile.decimal), tracer != 0
    {
      return .traced(pid, by: pid_t(truncatingIfNeeded: tracer))
    }
    return .permission(pid, "trace", errno: number)
  }

  /// By the program's file: a script that names ulpsh in its first line goes by the script's name.
  private static func isUlpsh(_ tracer: pid_t) -> Bool {
    var other = stat()
    var own = stat()
    guard stat("/proc/\(tracer)/exe", &other) == 0, stat("/proc/self/exe", &own) == 0 else { return false }
    return other.st_ino == own.st_ino && other.st_dev == own.st_dev || executableName(tracer) == "ulpsh"
  }

  private static func executableName(_ pid: pid_t) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/\(pid)/exe", &buffer, buffer.count - 1)
    let path = buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }
    return String(decoding: path.split(separator: 0x2f).last ?? [], as: UTF8.self)
  }

  /// The process has a tracer. When that is another ulpsh, it is an operation in progress, not a debugger.
  public static func traced(_ pid: pid_t, by tracer: pid_t) -> CodedError {
    let name = ProcFile.read("/proc/\(tracer)/comm", limit: 64).map { printable(String(decoding: $0.dropLast(), as: UTF8.self)) } ?? "?"
    let data: KeyValuePairs<String, DiagnosticValue> = [
      "pid": .integer(Int64(pid)), "tracer": .integer(Int64(tracer)), "tracer_comm": .text(name),
    ]
    if isUlpsh(tracer) {
      return CodedError(.operationBusy, "process \(pid) is being changed by ulpsh (process \(tracer))", data: data)
    }
    let hint =
      name == "gdb"
      ? "in that gdb say `detach` (after Ctrl-C, if it lets the program run), then try again; or there: `call (int) gdb_ulp_apply(\"FILE\")`"
      : "end or detach \(name) (process \(tracer)) and try again"
    return CodedError(.processTraced, "process \(pid) is traced by \(name) (process \(tracer))", hint: hint, data: data)
  }
}

/// strerror(3) for the numbers that happen, without its locale machinery.
public func errnoText(_ number: Int32) -> String { String(cString: strerror(number)) }
