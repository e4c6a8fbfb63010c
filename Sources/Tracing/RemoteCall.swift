import CLinux
import CPulpABI
import Diagnostics
import Glibc

/// Where a target's runtime lets functions be called: addresses out of `__ulp_ext`.
public struct CallSite: Sendable {
  public let entry: UInt64
  public let abandon: UInt64
  public let text: Range<UInt64>
  public let stack: Range<UInt64>
  public let mailbox: UInt64

  public init(entry: UInt64, abandon: UInt64, text: Range<UInt64>, stack: Range<UInt64>, mailbox: UInt64) {
    self.entry = entry
    self.abandon = abandon
    self.text = text
    self.stack = stack
    self.mailbox = mailbox
  }

  /// Whether a thread with these registers is inside a call: on the callee's stack, or on its way in or out.
  public func isInside(_ registers: Registers) -> Bool {
    text.contains(registers.programCounter) || (stack.lowerBound < registers.stackPointer && registers.stackPointer <= stack.upperBound)
  }
}

extension CallSite {
  var workplace: ul_workplace {
    ul_workplace(text_start: text.lowerBound, text_end: text.upperBound, stack_bottom: stack.lowerBound, stack_top: stack.upperBound)
  }
}

/// Whose process a journal or mailbox belongs to: in a forked child the copy is void.
public struct ProcessIdentity: Equatable, Sendable {
  public let pid: UInt64
  /// Field 22 of /proc/PID/stat, clock ticks since boot.
  public let startTime: UInt64

  public init(pid: UInt64, startTime: UInt64) {
    self.pid = pid
    self.startTime = startTime
  }
}

/// The outcome of a call: rax and rdx, and how long the carrier was away from its own work.
public struct CallResult: Sendable {
  public let value: UInt64
  public let high: UInt64
  public let carrier: pid_t
  public let carrierNanoseconds: UInt64
}

/// Everything of a remote call that is decided before the first write: the frame in the carrier's stack and the registers
/// with which it enters the runtime.
struct CallFrame {
  let address: UInt64
  let bytes: [UInt8]
  /// {rflags, rip}, through which the carrier goes home.
  let exit: (address: UInt64, bytes: [UInt8])
  let entryRegisters: Registers

  /// Where the carrier's registers lie that a system call takes (`pulp_call_frame`).
  static let saved: [(offset: UInt64, register: any WritableKeyPath<user_regs_struct, UInt64> & Sendable)] = [
    (24, \.rdx), (40, \.rdi), (0, \.rax),
  ]

  /// - Parameters:
  ///   - inCallStack: the frame lies in the runtime's stack; of the carrier's own only the 16 bytes below the red zone are used.
  ///   - registers: how the carrier is to go on afterwards.
  ///   - xstate: its XSAVE image in standard form.
  init(
    site: CallSite, function: UInt64, arguments: [UInt64], registers: Registers, xstate: [UInt8], mask: UInt64, sequence: UInt64,
    inCallStack: Bool = false
  ) {
    // psABI 3.2.2: 128 bytes below rsp belong to the interrupted function. Below them {rflags, rip}, then the frame.
    let exitStack = registers.stackPointer &- 128 &- 16
    let header = MemoryLayout<pulp_call_frame>.size
    address = ((inCallStack ? site.stack.upperBound : exitStack) &- UInt64(header + xstate.count)) & ~63
    var words = [UInt64](repeating: 0, count: header / 8)
    let raw = registers.raw
    let saved = [
      raw.rax, raw.rbx, raw.rcx, raw.rdx, raw.rsi, raw.rdi, raw.rbp, raw.r8, raw.r9, raw.r10, raw.r11, raw.r12, raw.r13,
      raw.r14, raw.r15, exitStack, mask, function,
    ]
    for (index, word) in saved.enumerated() { words[index] = word }
    for (index, word) in arguments.prefix(6).enumerated() { words[saved.count + index] = word }
    words[saved.count + 6] = sequence
    bytes = words.withUnsafeBytes { [UInt8]($0) } + xstate
    exit = (exitStack, withUnsafeBytes(of: (raw.eflags, raw.rip)) { [UInt8]($0) })

    var entry = registers
    entry.raw.rip = site.entry
    entry.raw.rsp = inCallStack ? address : site.stack.upperBound
    entry.raw.r12 = address
    entry.raw.eflags = 0x202  // DF, TF and AC clear, as the psABI wants at a function's entry
    entry.raw.orig_rax = UInt64.max
    entryRegisters = entry
  }
}

/// All signals but the synchronous faults, which blocking would turn into certain death (sigprocmask(2)).
public let maskDuringCall: UInt64 = {
  var mask = UInt64.max
  for signal in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS] { mask &= ~(1 << UInt64(signal - 1)) }
  return mask
}()

extension TraceSession {
  /// Diverts a stopped carrier into `function`. Once this has returned, the call ends by itself: the runtime restores the
  /// carrier from the frame, whether we live or not.
  ///
  /// `guarded`: the callee is not let into a system call that would harm its program before `awaitCall` was asked. That
  /// costs two stops of the carrier for each of its system calls. `home` is then the carrier's own stack, if that is known,
  /// on which the callee has no business.
  ///
  /// `foreign`: nothing is known of the callee. Where the carrier waits in a call of which the kernel keeps notes, which any
  /// sleep of the callee takes away, its system calls are looked at as well.
  public mutating func beginCall(
    on tid: pid_t, _ site: CallSite, function: UInt64, arguments: [UInt64], sequence: UInt64, owner: ProcessIdentity, guarded: Bool = false,
    foreign: Bool = false, inCallStack: Bool = false, home: Range<UInt64>? = nil
  ) throws(CodedError) {
    guard let stopped = registers(of: tid) else { throw .gone(pid) }
    let restart = SystemCallRestart(stopped)
    var after = stopped.repeating(restart)
    if let abort = try sequenceAbort(of: tid, stopped) { after.programCounter = abort }
    var mask: UInt64 = 0
    guard ul_get_signal_mask(tid, &mask) >= 0 else { throw .gone(pid) }
    let frame = CallFrame(
      site: site, function: function, arguments: arguments, registers: after, xstate: try extendedState(of: tid), mask: mask,
      sequence: sequence, inCallStack: inCallStack)
    activeFrame = frame.address
    activeMask = mask
    ul_set_callee(site.workplace, home?.lowerBound ?? 0, home?.upperBound ?? 0)
    try memory.write(frame.bytes, to: frame.address)
    try memory.write(frame.exit.bytes, to: frame.exit.address)
    try armMailbox(site, tid, sequence, owner, inCallStack)
    let again = stopped.reissuingWait(of: tid)
    keepWait(again, of: tid, frame)
    beginReceipt(tid, after, repeatsCall: restart != .none, frame)
    setRegisters(frame.entryRegisters, of: tid)
    try commitRegisters(of: tid)
    ul_set_signal_mask(tid, maskDuringCall)
    calleeMode = Int32(guarded ? UL_ATTEND_GUARD : foreign && again != nil ? UL_ATTEND_WATCH : UL_ATTEND_HOLD_FAULTS)
    resume(tid, inCallee: true)
  }

  /// When the callee takes the kernel's notes of the carrier's wait away, the frame is changed before, so that the carrier
  /// issues its call again: `again`. The number comes last: without it restart_syscall(2) takes no arguments.
  private func keepWait(_ again: Registers?, of tid: pid_t, _ frame: CallFrame) {
    guard let again else { return ul_keep_wait(0, nil, 0) }
    let words = CallFrame.saved.map { ul_word(address: frame.address + $0.offset, value: again.raw[keyPath: $0.register]) }
    ul_keep_wait(tid, words, Int32(words.count))
  }

  /// Suspends the seccomp filters of a stopped thread that is about to be diverted, until it works for itself again. Without
  /// a call site its own stack is where it works: then its filters come back with `restoreSeccomp`, or at the detach.
  public func suspendSeccomp(of tid: pid_t, _ site: CallSite?) throws(CodedError) {
    let result = ul_suspend_seccomp(tid, site?.workplace ?? ul_workplace(text_start: 0, text_end: .max, stack_bottom: 0, stack_top: .max))
    guard result < 0 else { return }
    throw CodedError(
      .seccompPermission, "the seccomp filters of thread \(tid) of process \(pid) cannot be suspended: \(errnoText(Int32(-result)))",
      data: ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid)), "errno": .integer(Int64(-result))])
  }

  /// After a call: makes sure that the carrier's filters are back before it does anything else for long.
  mutating func restoreSeccomp(of tid: pid_t) {
    let deadline = Deadline(afterMicroseconds: 50_000)
    while ul_is_seccomp_suspended(tid) != 0 && !deadline.hasPassed {
      guard (try? stop(tid, until: deadline)) == true else { return }
      resume(tid)  // the shim looks where it is
    }
  }

  private func armMailbox(_ site: CallSite, _ tid: pid_t, _ sequence: UInt64, _ owner: ProcessIdentity, _ inCallStack: Bool) throws(CodedError) {
    var head = pulp_mailbox()
    head.carrier = UInt32(tid)
    head.owner_pid = owner.pid
    head.owner_start = owner.startTime
    head.sequence = 0  // becomes the call's own number with the result
    head.frame_in_stack = inCallStack ? 1 : 0
    head.state = UInt32(PULP_CALL_ARMED.rawValue)
    let size = MemoryLayout<pulp_mailbox>.offset(of: \.text)!
    try memory.write(withUnsafeBytes(of: head) { [UInt8]($0.prefix(size)) }, to: site.mailbox)
  }

  /// The XSAVE image of a stopped thread, in standard form.
  func extendedState(of tid: pid_t) throws(CodedError) -> [UInt8] {
    var size = 0
    // 8 KiB of AMX tiles and 2.7 KiB of the rest; the kernel cuts to what the processor has.
    let state = [UInt8](unsafeUninitializedCapacity: 16384) { buffer, count in
      size = ul_get_xstate(tid, buffer.baseAddress, buffer.count)
      count = max(size, 0)
    }
    guard size > 576 else {
      throw size < 0 && size != -Int(ESRCH) ? .permission(pid, "save the registers of a thread of", errno: Int32(-size)) : .gone(pid)
    }
    return state
  }

  /// The abort address when the thread was stopped inside an rseq critical section: the kernel applies the abort only on
  /// its way to user mode, where it would not find the section any more (rseq(2)).
  func sequenceAbort(of tid: pid_t, _ registers: Registers) throws(CodedError) -> UInt64? {
    guard registers.systemCall == nil else { return nil }
    var area: UInt64 = 0
    guard ul_get_rseq_area(tid, &area) >= 0, area != 0 else { return nil }
    let section = try memory.load(area + 8, as: UInt64.self)
    guard section != 0 else { return nil }
    // struct rseq_cs: u32 version, flags; u64 start_ip, post_commit_offset, abort_ip
    let words = try memory.load(section, count: 4, as: UInt64.self)
    return registers.programCounter &- words[1] < words[2] ? words[3] : nil
  }
}
