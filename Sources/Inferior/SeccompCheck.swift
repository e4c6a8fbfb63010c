import CLinux
import Diagnostics
import Glibc
import Tracing

/// What is done about the seccomp filters of a thread that is to load something.
public enum SeccompPolicy: String, Sendable, CaseIterable {
  /// They are read, and must allow what loading takes.
  case check
  /// They are whatever they are.
  case ignore
  /// They are suspended for the time of the call.
  case suspend
}

/// What a call takes besides what loading takes.
public struct SeccompNeeds: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Delivery by a memory file.
  public static let memoryFile = SeccompNeeds(rawValue: 1)
  /// Keeping the carrier as it was from code of a container (runtime/guest.c).
  public static let guest = SeccompNeeds(rawValue: 2)
  /// Relocations in the code of a container.
  public static let textRelocations = SeccompNeeds(rawValue: 8)
  /// Returning from a bare call through a signal frame.
  public static let signalReturn = SeccompNeeds(rawValue: 4)
}

/// Whether a stopped thread's seccomp filters let it do what loading a container needs (seccomp(2), BPF as in
/// <linux/bpf_common.h>).
struct SeccompCheck {
  let pid: pid_t
  let tid: pid_t

  /// A system call as the loader makes it: number, and the arguments a filter may look at.
  struct Call {
    let name: String
    let number: UInt32
    let arguments: [UInt64]
  }

  /// What dlopen(3), dlclose(3) and our own staging issue. Pointers are 0: no honest filter looks at them.
  static let needed: [Call] = [
    Call(name: "openat", number: 257, arguments: [UInt64(bitPattern: -100), 0, 0o2000000, 0, 0, 0]),
    Call(name: "read", number: 0, arguments: [3, 0, 832, 0, 0, 0]),
    Call(name: "pread64", number: 17, arguments: [3, 0, 784, 64, 0, 0]),
    Call(name: "newfstatat", number: 262, arguments: [3, 0, 0, 0x1000, 0, 0]),
    Call(name: "mmap (readable)", number: 9, arguments: [0, 16384, 1, 0x802, 3, 0]),
    Call(name: "mmap (executable)", number: 9, arguments: [0, 4096, 5, 0x812, 3, 4096]),
    Call(name: "mmap (anonymous)", number: 9, arguments: [0, 4096, 3, 0x22, UInt64(bitPattern: -1), 0]),
    Call(name: "mprotect (readable)", number: 10, arguments: [0, 4096, 1, 0, 0, 0]),
    Call(name: "munmap", number: 11, arguments: [0, 4096, 0, 0, 0, 0]),
    Call(name: "close", number: 3, arguments: [3, 0, 0, 0, 0, 0]),
    Call(name: "brk", number: 12, arguments: [0, 0, 0, 0, 0, 0]),
    Call(name: "futex", number: 202, arguments: [0, 128, 1, 0, 0, 0]),
    Call(name: "rt_sigprocmask", number: 14, arguments: [2, 0, 0, 8, 0, 0]),
  ]

  /// MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL.
  private static let memoryFile = [Call(name: "memfd_create", number: 319, arguments: [0, 11, 0, 0, 0, 0])]
  private static let textRelocations = [Call(name: "mprotect (executable)", number: 10, arguments: [0, 4096, 5, 0, 0, 0])]
  private static let guest = [
    Call(name: "getpid", number: 39, arguments: [0, 0, 0, 0, 0, 0]), Call(name: "sigaltstack", number: 131, arguments: [0, 0, 0, 0, 0, 0]),
    Call(name: "rt_sigaction", number: 13, arguments: [11, 0, 0, 8, 0, 0]),
  ]

  /// How a bare call returns should its tool die: without our runtime there is no other way.
  static let signalReturn = Call(name: "rt_sigreturn", number: 15, arguments: [0, 0, 0, 0, 0, 0])

  /// 0: none, also for a thread that has ended, 1: strict mode, 2: filters (proc(5)). Fails with `process.permission` when
  /// nobody can tell.
  func mode() throws(CodedError) -> UInt64 {
    let status: [UInt8]
    do throws(CodedError) {
      status = try ProcFile.read("/proc/\(pid)/task/\(tid)/status", of: pid, to: "look for seccomp filters of", limit: 8192)
    } catch {
      if error.code == .processGone { return 0 }
      throw error
    }
    return ProcFile.field("Seccomp", of: status).flatMap(ProcFile.decimal) ?? 0
  }

  /// What malloc(3) calls when it is called for the first time, which may be by us: without a heap that was not yet.
  private func firstAllocation() -> [Call] {
    if MemoryMap(of: tid).mappings.contains(where: { $0.path == "[heap]" }) { return [] }
    return [Call(name: "getrandom", number: 318, arguments: [0, 8, 1, 0, 0, 0])]  // GRND_NONBLOCK
  }

  private var data: KeyValuePairs<String, DiagnosticValue> { ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid))] }

  /// Fails with `seccomp.strict`.
  func refuseStrict() throws(CodedError) { try refuseStrict(mode()) }

  private func refuseStrict(_ mode: UInt64) throws(CodedError) {
    guard mode == 1 else { return }
    throw CodedError(.seccompStrict, "thread \(tid) of process \(pid) runs in seccomp strict mode", data: data)
  }

  /// Fails with `seccomp.strict`, `seccomp.forbidden` (naming the calls) or `seccomp.unknown`.
  func run(_ needs: SeccompNeeds = []) throws(CodedError) {
    let mode = try mode()
    if mode == 0 { return }
    try refuseStrict(mode)
    let filters = try readFilters(data)
    let needed = SeccompCheck.needed + firstAllocation()
      + (needs.contains(.memoryFile) ? SeccompCheck.memoryFile : []) + (needs.contains(.guest) ? SeccompCheck.guest : [])
      + (needs.contains(.textRelocations) ? SeccompCheck.textRelocations : [])
      + (needs.contains(.signalReturn) ? [SeccompCheck.signalReturn] : [])
    let forbidden = needed.filter { call in filters.contains { !SeccompFilter($0).allows(call) } }.map(\.name)
    if !forbidden.isEmpty {
      throw CodedError(
        .seccompForbidden, "a seccomp filter of process \(pid) forbids \(forbidden.joined(separator: ", "))", data: data
      ).with("calls", .list(forbidden.map { .text($0) }))
    }
  }

  private func readFilters(_ data: KeyValuePairs<String, DiagnosticValue>) throws(CodedError) -> [[UInt64]] {
    var filters: [[UInt64]] = []
    while filters.count < 64 {
      var result = 0
      let program = [UInt64](unsafeUninitializedCapacity: 4096) { buffer, count in
        result = ul_get_seccomp_filter(tid, UInt32(filters.count), buffer.baseAddress, buffer.count)
        count = max(0, min(result, buffer.count))
      }
      if result == -Int(ENOENT) { break }
      guard result >= 0 else {
        throw CodedError(.seccompUnknown, "the seccomp filter of process \(pid) cannot be read: \(errnoText(Int32(-result)))", data: data)
      }
      filters.append(program)
    }
    return filters
  }
}

extension TargetProcess {
  /// Does what the policy wants done with a stopped thread's filters before it is diverted. Fails with
  /// `seccomp.permission`, and nothing is changed then.
  public func applySeccomp(_ policy: SeccompPolicy, to tid: pid_t, _ session: inout TraceSession, site: CallSite?) throws(CodedError) {
    guard policy == .suspend, try SeccompCheck(pid: pid, tid: tid).mode() != 0 else { return }
    try session.suspendSeccomp(of: tid, site)
  }
}

/// One classic BPF program over `struct seccomp_data`: {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}.
struct SeccompFilter {
  /// Each word is a struct sock_filter: u16 code, u8 jt, u8 jf, u32 k.
  private let program: [UInt64]

  init(_ program: [UInt64]) { self.program = program }

  func allows(_ call: SeccompCheck.Call) -> Bool { ul_seccomp_allows(run(call)) != 0 }

  /// The program's result; none where it has no end counts as KILL.
  func run(_ call: SeccompCheck.Call) -> UInt32 { ul_seccomp_answer(program, program.count, call.number, call.arguments) }
}
