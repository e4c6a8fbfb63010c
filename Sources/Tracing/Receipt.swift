import CLinux
import Glibc

/// Something of a target that was not the same after us as before us.
public struct ReceiptDifference: Sendable, Equatable {
  public enum Cause: String, Sendable {
    /// We, or the way in which threads are stopped, borrowed and put back. Never right.
    case ulpsh
    /// The function that was called in the target: a container's constructor or destructor. Its author's affair.
    case callee
    /// The program itself, or somebody else: its threads ran, and nothing that we or the callee did can have done it.
    case others
  }
  /// 0: the process as a whole.
  public let thread: pid_t
  public let what: String
  public let before, after: String
  public let cause: Cause
}

/// Compares a target before and after everything that is done to it, when `ul_receipts()` says so. Costs time only then.
///
/// What can be compared, and when:
/// * A thread across its stop: everything. Registers may differ only where a stop repeats an interrupted system call, or
///   moves a thread out of a detour; extended state, signal mask, rseq registration and robust list not at all; pending
///   signals may only become more.
/// * A carrier across its call: it is followed from system call to system call. At the runtime's last one, which gives it its
///   mask back, its frame is still as we wrote it, its red zone and errno are the old ones, and nothing of its program has
///   run yet. A carrier that was taken out of a system call is met again when it repeats that call: there registers and
///   extended state are compared bit by bit. (One that was computing is not met again; what it goes on with is the frame.)
/// * The process across a world-stop: mappings, protections, descriptors, umask, directories, limits, timers, signal actions,
///   credentials, seccomp: exactly, as nobody ran.
/// * The process across a call: the other threads run. So a difference is only told when a system call that the callee made
///   is of the kind that causes it; an alternate stack or an interval timer, which nobody can see from outside, by that alone.
///   Expected, and not told: new mappings that are not both writable and executable, growth of the allocator's areas, and
///   on the way out the removal of mappings.
/// * The process across something that only reads, such as `check`: see `Observation`.
public final class Receipt {
  public let pid: pid_t
  public private(set) var differences: [ReceiptDifference] = []
  /// What others have changed meanwhile. None of our affair, and told so that nobody takes it for that.
  public private(set) var others: [ReceiptDifference] = []
  /// Requests of ptrace(2) and writes into processes that reading has made; nil where it was no mere reading.
  public internal(set) var touches: Int?
  /// Stops of single threads, and calls, that were compared from begin to end.
  public internal(set) var stops = 0
  public internal(set) var calls = 0
  public internal(set) var worldStops = 0
  /// Calls whose carrier was met again at its repeated system call.
  public internal(set) var carriersMet = 0
  /// Where errno lies from the thread pointer; nil when it is not known.
  public var errnoOffset: UInt64?
  var call: CallReceipt?
  private var calledInWorldStop = false
  private var world: ProcessShot?

  static let limit = 200

  public init(_ pid: pid_t) { self.pid = pid }

  /// An operation that failed has a receipt, too: what is in it counts among those of this program.
  deinit { Receipt.all.add(self) }

  /// All receipts of this program: how much was compared, and what only we can have caused.
  public struct Totals: Sendable {
    public internal(set) var stops = 0
    public internal(set) var worldStops = 0
    public internal(set) var calls = 0
    public internal(set) var carriersMet = 0
    public internal(set) var faults: [ReceiptDifference] = []

    mutating func add(_ receipt: Receipt) {
      stops += receipt.stops
      worldStops += receipt.worldStops
      calls += receipt.calls
      carriersMet += receipt.carriersMet
      faults += receipt.differences.lazy.filter { $0.cause == .ulpsh }.prefix(max(0, Receipt.limit - faults.count))
    }
  }

  /// Sessions belong to one OS thread, and so does this.
  public nonisolated(unsafe) private(set) static var all = Totals()

  static func ifWanted(_ pid: pid_t) -> Receipt? { ul_receipts() != 0 ? Receipt(pid) : nil }

  /// Whether anything differs that only we can have caused.
  public var hasFault: Bool { differences.contains { $0.cause == .ulpsh } }

  func differ(_ thread: pid_t, _ what: String, _ before: String, _ after: String, _ cause: ReceiptDifference.Cause = .ulpsh) {
    guard before != after, differences.count < Receipt.limit else { return }
    let found = ReceiptDifference(thread: thread, what: what, before: before, after: after, cause: cause)
    if cause == .others {
      if others.count < Receipt.limit, !others.contains(found) { others.append(found) }
      return
    }
    if !differences.contains(found) { differences.append(found) }
  }

  func takeBack(since count: Int) { differences.removeLast(differences.count - count) }

  // MARK: - World-stops

  func worldStopped(_ memory: ProcessMemory) {
    world = ProcessShot(memory.thread)
    calledInWorldStop = false
  }

  /// Some threads run on while others stand: what was seen of the process so far says nothing any more.
  func worldRunsInParts() { world = nil }

  func worldStandsAgain(_ memory: ProcessMemory) { if world == nil { worldStopped(memory) } }

  /// A function runs in the process while all its other threads stand still: what differs afterwards is its doing.
  func calleeRuns() { calledInWorldStop = true }

  /// Another program in the same process is not the same program changed.
  func worldResumes(_ memory: ProcessMemory) {
    guard let before = world else { return }
    world = nil
    if memory.isOver { return }
    worldStops += 1
    let told = differences.count
    defer { if memory.isOver { takeBack(since: told) } }
    compare(before, ProcessShot(memory.thread), calledInWorldStop ? .callee : .ulpsh)
  }

  /// Everything of two moments. New mappings are expected where anybody but us ran.
  func compare(_ before: ProcessShot, _ after: ProcessShot, _ cause: ReceiptDifference.Cause) {
    func differ(_ what: String, _ before: String, _ after: String) { self.differ(0, what, before, after, cause) }
    for (name, value) in before.facts { differ(name, value, after.facts.first { $0.name == name }?.value ?? "none") }
    let gone = before.mappings.filter { !after.mappings.contains($0) }
    let new = after.mappings.filter { !before.mappings.contains($0) }
    for mapping in gone { differ("mapping", mapping.description, "gone or changed") }
    // What a callee loads is expected, unless it is both writable and executable.
    for mapping in new where cause == .ulpsh || mapping.permissions.hasPrefix("rwx") { differ("mapping", "none", mapping.description) }
    for (number, target) in before.descriptors { differ("descriptor \(number)", target, after.descriptors[number] ?? "closed") }
    for (number, target) in after.descriptors where before.descriptors[number] == nil { differ("descriptor \(number)", "closed", target) }
  }
}

/// A stopped thread at one moment.
struct ThreadShot {
  let registers: user_regs_struct
  let extendedState: [UInt8]
  /// Numbers with their names: mask, rseq registration, robust list, errno.
  let facts: [(name: String, value: UInt64)]
  /// How many signals of each number are queued for the thread.
  let pending: [UInt32]

  /// Nil when the thread has ended meanwhile.
  init?(_ tid: pid_t, _ memory: ProcessMemory, errnoOffset: UInt64?) {
    var raw = user_regs_struct()
    guard ul_get_registers(tid, &raw) >= 0 else { return nil }
    registers = raw
    var size = 0
    extendedState = [UInt8](unsafeUninitializedCapacity: 16384) { buffer, count in
      size = ul_get_xstate(tid, buffer.baseAddress, buffer.count)
      count = max(size, 0)
    }
    guard size > 576, let facts = ThreadShot.facts(tid, raw, memory, errnoOffset) else { return nil }
    self.facts = facts
    var counts = [UInt32](repeating: 0, count: Int(UL_SIGNALS))
    ul_get_pending_signals(tid, 0, &counts)
    pending = counts
  }

  private static func facts(
    _ tid: pid_t, _ raw: user_regs_struct, _ memory: ProcessMemory, _ errnoOffset: UInt64?
  ) -> [(name: String, value: UInt64)]? {
    var mask: UInt64 = 0
    guard ul_get_signal_mask(tid, &mask) >= 0 else { return nil }
    var rseq = ul_rseq_registration()
    // Killed since its registers were read: it has none any more.
    guard ul_get_rseq_registration(tid, &rseq) != -Int(ESRCH) else { return nil }
    var robust: [UInt64] = [0, 0]
    ul_get_robust_list(tid, &robust)
    var facts: [(name: String, value: UInt64)] = [
      ("signal mask", mask), ("rseq area", rseq.address), ("rseq size and signature", UInt64(rseq.size) << 32 | UInt64(rseq.signature)),
      ("robust list", robust[0]), ("size of the robust list's head", robust[1]),
    ]
    if let errnoOffset, let number = try? memory.load(raw.fs_base &+ errnoOffset, as: Int32.self) {
      facts.append(("errno", UInt64(bitPattern: Int64(number))))
    }
    return facts
  }

  static func named(_ raw: user_regs_struct) -> [(name: String, value: UInt64)] {
    Registers(raw).named + [
      ("cs", raw.cs), ("ss", raw.ss), ("ds", raw.ds), ("es", raw.es), ("fs", raw.fs), ("gs", raw.gs),
    ]
  }

  /// Where two XSAVE images differ, as text. Bytes 512 to 519 say which components were in use: the processor may forget
  /// that of one with its initial values, which the image has in either case.
  static func difference(_ before: [UInt8], _ after: [UInt8]) -> String? {
    if before.count != after.count { return "size \(before.count), \(after.count)" }
    let places = before.indices.filter { before[$0] != after[$0] && !(512..<520).contains($0) }
    return places.isEmpty ? nil : "bytes " + places.prefix(16).map(String.init).joined(separator: " ")
  }
}

extension ThreadShot {
  /// Tells what differs from `after`. `registers`: those that are meant to be there.
  func compare(_ tid: pid_t, _ after: ThreadShot, _ expected: user_regs_struct?, made: Set<UInt64> = [], to receipt: Receipt) {
    if let expected {
      // RF (bit 16) is the debugger's: the kernel sets it as it likes.
      for (wanted, found) in zip(ThreadShot.named(expected), ThreadShot.named(after.registers)) {
        let ignored: UInt64 = wanted.name == "eflags" ? 0x10000 : 0
        receipt.differ(tid, wanted.name, hex(wanted.value & ~ignored), hex(found.value & ~ignored))
      }
    }
    if let places = ThreadShot.difference(extendedState, after.extendedState) { receipt.differ(tid, "extended state", "same", places) }
    compareFacts(tid, after, made: made, to: receipt)
  }

  /// The system calls by which a callee changes such a fact of its thread: rseq, set_robust_list.
  private static let causes: [String: UInt64] = [
    "rseq area": 334, "rseq size and signature": 334, "robust list": 273, "size of the robust list's head": 273,
  ]

  /// `made`: the system calls of a callee that ran on the thread meanwhile.
  func compareFacts(_ tid: pid_t, _ after: ThreadShot, made: Set<UInt64> = [], to receipt: Receipt) {
    for (name, value) in facts {
      guard let found = after.facts.first(where: { $0.name == name })?.value else { continue }
      let isCallees = ThreadShot.causes[name].map(made.contains) ?? false
      receipt.differ(tid, name, hex(value), hex(found), isCallees ? .callee : .ulpsh)
    }
    for (signal, count) in pending.enumerated() where after.pending[signal] < count {
      receipt.differ(tid, "pending signal \(signal)", "\(count)", "\(after.pending[signal])")
    }
  }

  /// Registers that a stop may deliberately change: to repeat a system call (rax, rip, orig_rax; r10 is a timeout), or to
  /// move a thread out of a detour (rip).
  static let changeable: Set<String> = ["rip", "rax", "orig_rax", "r10"]
  /// Those, and the arguments of a call that is repeated in place of restart_syscall(2): what is left of a sleep or a timeout.
  static let changeableInRestart: Set<String> = changeable.union(["rdi", "rdx"])

  /// What was done to the registers of a stopped thread must be one of the deliberate changes.
  func checkIntent(_ tid: pid_t, _ intended: user_regs_struct, to receipt: Receipt) {
    let changeable = SystemCallRestart(Registers(registers)) == .restartBlock ? ThreadShot.changeableInRestart : ThreadShot.changeable
    for (found, wanted) in zip(ThreadShot.named(registers), ThreadShot.named(intended)) where !changeable.contains(found.name) {
      receipt.differ(tid, found.name, hex(found.value), hex(wanted.value))
    }
  }
}

extension Tracee {
  /// Compares with the thread as it was at its stop. Its registers have been handed to the kernel.
  func compare(_ memory: ProcessMemory) {
    guard let shot, let receipt, let now = ThreadShot(tid, memory, errnoOffset: receipt.errnoOffset), !memory.isOver else { return }
    receipt.stops += 1
    shot.checkIntent(tid, registers.raw, to: receipt)
    shot.compare(tid, now, registers.raw, to: receipt)
  }
}
