import CLinux
import Diagnostics
import Glibc

/// Small files of proc(5), read whole and parsed as bytes: they are untrusted text, and they are read often.
public enum ProcFile {
  /// The contents of a file, at most `limit` bytes; nil when it cannot be opened or read (the process has gone, or no right).
  public static func read(_ path: String, limit: Int = 16 << 20) -> [UInt8]? {
    guard case .contents(let bytes) = look(path, limit: limit) else { return nil }
    return bytes
  }

  /// The same for those who must tell why not: without a descriptor or memory to spare nothing can be read, and that says
  /// nothing about the process. Fails with `process.gone` or `process.permission`.
  public static func read(_ path: String, of pid: pid_t, to action: String, limit: Int) throws(CodedError) -> [UInt8] {
    switch look(path, limit: limit) {
    case .contents(let bytes): return bytes
    case .absent: throw .gone(pid)
    case .refused(let number): throw .permission(pid, action, errno: number)
    }
  }

  /// What came of reading a file.
  enum Look {
    case contents([UInt8])
    /// The process, or its thread, has gone.
    case absent
    /// For this error number, which says nothing about the process.
    case refused(Int32)
  }

  static func look(_ path: String, limit: Int) -> Look {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return outcome(of: errno) }
    defer { close(descriptor) }
    if let bytes = readAll(descriptor, limit: limit) { return .contents(bytes) }
    return outcome(of: errno)
  }

  private static func outcome(of number: Int32) -> Look { number == ENOENT || number == ESRCH ? .absent : .refused(number) }

  /// Nil with errno set.
  static func readAll(_ descriptor: Int32, limit: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    var chunk = 4096
    while bytes.count < limit {
      var got = 0
      var failure: Int32 = 0
      let wanted = min(chunk, limit - bytes.count)
      let part = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
        got = Glibc.read(descriptor, buffer.baseAddress, wanted)
        failure = errno
        count = max(got, 0)
      }
      if got < 0 {
        if failure == EINTR { continue }
        errno = failure
        return nil
      }
      if got == 0 { break }
      if bytes.isEmpty { bytes = part } else { bytes += part }
      chunk = min(chunk * 4, 1 << 20)
    }
    return bytes
  }

  /// A decimal number at the start of the bytes; nil when there is none or it does not fit.
  public static func decimal(_ bytes: ArraySlice<UInt8>) -> UInt64? {
    number(bytes, radix: 10)
  }

  public static func hexadecimal(_ bytes: ArraySlice<UInt8>) -> UInt64? {
    number(bytes, radix: 16)
  }

  private static func number(_ bytes: ArraySlice<UInt8>, radix: UInt64) -> UInt64? {
    var value: UInt64 = 0
    var digits = 0
    for byte in bytes {
      let digit: UInt64
      switch byte {
      case 0x30...0x39: digit = UInt64(byte - 0x30)
      case 0x61...0x66 where radix == 16: digit = UInt64(byte - 0x61 + 10)
      default: return digits > 0 ? value : nil
      }
      let (product, overflow) = value.multipliedReportingOverflow(by: radix)
      let (sum, carry) = product.addingReportingOverflow(digit)
      if overflow || carry { return nil }
      value = sum
      digits += 1
    }
    return digits > 0 ? value : nil
  }
}

/// The threads of a process as /proc/PID/task lists them.
public enum ThreadList {
  /// Thread IDs in ascending order; empty when the process has gone or cannot be listed.
  public static func read(of pid: pid_t) -> [pid_t] { (try? all(of: pid)) ?? [] }

  /// The same for those who must know every thread: an empty list means that the process has gone and nothing else. A
  /// world-stop that took "too many open files" for "no more threads" would leave threads running.
  public static func all(of pid: pid_t) throws(CodedError) -> [pid_t] {
    let descriptor = open("/proc/\(pid)/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0 && errno != ENOENT && errno != ESRCH { throw .unlistable(pid, errno: errno) }
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    let (found, failure) = numbersAndFailure(in: descriptor)
    if failure != 0 && failure != ENOENT && failure != ESRCH { throw .unlistable(pid, errno: failure) }
    return found.sorted()
  }

  /// The names of a directory that are decimal numbers.
  public static func numbers(in descriptor: Int32) -> [pid_t] { numbersAndFailure(in: descriptor).found }

  /// By getdents64(2): opendir(3) costs an allocation of 32 KiB. `failure` is the error number that ended it, or 0.
  private static func numbersAndFailure(in descriptor: Int32) -> (found: [pid_t], failure: Int32) {
    var found: [pid_t] = []
    var failure: Int32 = 0
    withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 8) { buffer in
      while true {
        let count = getdents(descriptor, buffer)
        if count <= 0 {
          failure = Int32(truncatingIfNeeded: -count)
          return
        }
        var offset = 0
        // struct linux_dirent64: u64 inode, i64 offset, u16 record length, u8 type, name
        while offset + 19 < count {
          let length = Int(buffer.load(fromByteOffset: offset + 16, as: UInt16.self))
          var value: pid_t = 0
          var index = offset + 19
          while buffer[index] >= 0x30 && buffer[index] <= 0x39 {
            value = value &* 10 &+ pid_t(buffer[index] - 0x30)
            index += 1
          }
          if index > offset + 19 && buffer[index] == 0 { found.append(value) }
          offset += max(length, 20)
        }
      }
    }
    return (found, failure)
  }

  /// The state letter of a thread (proc(5): R S D T t Z X I), or nil when it has gone.
  public static func state(of tid: pid_t, in pid: pid_t) -> UInt8? {
    guard let stat = ProcFile.read("/proc/\(pid)/task/\(tid)/stat", limit: 4096),
      let close = stat.lastIndex(of: 0x29), close + 2 < stat.count
    else { return nil }
    return stat[close + 2]
  }

  /// Processor time that a thread has used, in nanoseconds, as of the last clock tick or its last turn: the first number of
  /// /proc/PID/task/TID/schedstat. Nil when the kernel does not tell.
  static func usage(of tid: pid_t, in pid: pid_t) -> UInt64? {
    ProcFile.read("/proc/\(pid)/task/\(tid)/schedstat", limit: 128).flatMap { ProcFile.decimal($0[...]) }
  }

  /// Whether more threads want a processor just now than there are processors: the fourth field of /proc/loadavg.
  static func isMachineCrowded() -> Bool {
    guard let fields = ProcFile.read("/proc/loadavg", limit: 128)?.split(separator: 0x20), fields.count > 3,
      let wanting = ProcFile.decimal(fields[3])
    else { return false }
    return wanting > UInt64(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  /// The number of the system call in which a thread is blocked; nil when it runs, or cannot be looked at (proc(5),
  /// /proc/PID/task/TID/syscall).
  public static func systemCall(of tid: pid_t, in pid: pid_t) -> Int? {
    guard let text = ProcFile.read("/proc/\(pid)/task/\(tid)/syscall", limit: 256) else { return nil }
    return ProcFile.decimal(text[...]).flatMap { Int(exactly: $0) }
  }

  /// Whether the call in which a thread is blocked says EINTR to every stop (signal(7)), until a tracer has mended that.
  public static func isLightSleeper(_ tid: pid_t, in pid: pid_t) -> Bool {
    systemCall(of: tid, in: pid).map { ul_is_repeatable_call($0) != 0 } ?? false
  }

  /// The address of the futex at which a thread waits; nil when it does not.
  static func awaitedFutex(of tid: pid_t, in pid: pid_t) -> UInt64? {
    guard let words = ProcFile.read("/proc/\(pid)/task/\(tid)/syscall", limit: 256)?.split(separator: 0x20), words.count > 2,
      ProcFile.decimal(words[0]) == Futex.systemCall, let address = ProcFile.hexadecimal(words[1].dropFirst(2)),
      let operation = ProcFile.hexadecimal(words[2].dropFirst(2)), Futex.waits(operation)
    else { return nil }
    return address
  }

  /// Whether a thread has ended, or is about to with nothing left to run. Not when nobody can tell.
  public static func hasEnded(_ tid: pid_t, in pid: pid_t) -> Bool {
    guard let state = state(of: tid, in: pid) else { return isAbsent(tid, in: pid) }
    return state == UInt8(ascii: "Z") || state == UInt8(ascii: "X")
  }

  /// Whether /proc lists a thread no more.
  public static func isAbsent(_ tid: pid_t, in pid: pid_t) -> Bool {
    access("/proc/\(pid)/task/\(tid)", F_OK) < 0 && (errno == ENOENT || errno == ESRCH)
  }

  /// Whether the kernel made the thread for its own work (io_uring, vhost): it never runs the program's code, and cannot be
  /// traced. Field 9 of /proc/PID/task/TID/stat; PF_IO_WORKER and PF_USER_WORKER of <linux/sched.h>.
  public static func isKernelWorker(_ tid: pid_t, in pid: pid_t) -> Bool { hasFlags(0x4010, tid, in: pid) }

  /// Whether a process is the kernel's own: PF_KTHREAD.
  public static func isKernelThread(_ pid: pid_t) -> Bool { hasFlags(0x20_0000, pid, in: pid) }

  private static func hasFlags(_ wanted: UInt64, _ tid: pid_t, in pid: pid_t) -> Bool {
    guard let stat = ProcFile.read("/proc/\(pid)/task/\(tid)/stat", limit: 4096), let close = stat.lastIndex(of: 0x29) else { return false }
    let fields = stat[(close + 1)...].split(separator: 0x20)
    guard fields.count > 6, let flags = ProcFile.decimal(fields[6]) else { return false }
    return flags & wanted != 0
  }
}
