import CLinux
import Diagnostics
import Glibc

/// What a call needs in a process that has no runtime: three short pieces of libc's own text, and eight bytes that nobody
/// uses.
///
/// The callee returns through a chain on the carrier's stack: `pop %rdx; ret` loads the cell's address, `mov %rax,(%rdx);
/// ret` stores the result (or the same with another register, as libc happens to have it), and libc's signal restorer ends in rt_sigreturn(2), which puts back everything from a signal
/// frame that we wrote. As with the runtime's own way back, nothing depends on the tracer once the call has begun.
public struct BareCallSite: Sendable {
  public let popArgument: UInt64
  public let storeResult: UInt64
  public let restorer: UInt64
  public let cell: UInt64

  /// Pairs of `pop %REG; ret` and `mov %rax,(%REG); ret` for rdx, rdi, rsi, rcx.
  static let stores: [(pop: [UInt8], store: [UInt8])] = [
    ([0x5a, 0xc3], [0x48, 0x89, 0x02, 0xc3]), ([0x5f, 0xc3], [0x48, 0x89, 0x07, 0xc3]),
    ([0x5e, 0xc3], [0x48, 0x89, 0x06, 0xc3]), ([0x59, 0xc3], [0x48, 0x89, 0x01, 0xc3]),
  ]
  /// glibc's `__restore_rt`: `mov $15,%rax; syscall`.
  static let restorerBytes: [UInt8] = [0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05]

  /// Looks for the pieces in libc's text. Nil when one is missing.
  public init?(text: [UInt8], at base: UInt64, cell: UInt64) {
    guard let restorer = BareCallSite.search(text, BareCallSite.restorerBytes) else { return nil }
    for pair in BareCallSite.stores {
      guard let store = BareCallSite.search(text, pair.store), let pop = BareCallSite.search(text, pair.pop) else { continue }
      popArgument = base + UInt64(pop)
      storeResult = base + UInt64(store)
      self.restorer = base + UInt64(restorer)
      self.cell = cell
      return
    }
    return nil
  }

  private static func search(_ text: [UInt8], _ pattern: [UInt8]) -> Int? {
    text.withUnsafeBytes { text in
      pattern.withUnsafeBytes { pattern in
        guard let start = text.baseAddress else { return nil }
        var offset = 0
        while offset + pattern.count <= text.count {
          let rest = text.count - pattern.count + 1 - offset
          guard let place = memchr(start + offset, Int32(pattern[0]), rest) else { return nil }
          offset = UnsafeRawPointer(place) - start
          if memcmp(place, pattern.baseAddress!, pattern.count) == 0 { return offset }
          offset += 1
        }
        return nil
      }
    }
  }
}

/// The bytes below a carrier's red zone: the chain, a `struct rt_sigframe` and its XSAVE image (kernel, asm/sigframe.h).
struct SignalFrame {
  let address: UInt64
  let bytes: [UInt8]
  let entryRegisters: Registers

  /// - Parameter tiles: where the state of AMX tiles lies in an XSAVE image of this processor; empty when it has none.
  init(
    site: BareCallSite, function: UInt64, arguments: [UInt64], registers: Registers, xstate whole: [UInt8], mask: UInt64,
    tiles: Range<Int> = SignalFrame.tiles
  ) {
    let xstate = SignalFrame.fitting(whole, tiles)
    let image = (registers.stackPointer &- 128 &- UInt64(xstate.count + 4)) & ~63
    // pretcode + struct ucontext + siginfo: 8 + 304 + 128
    let frame = (image &- 448) & ~15
    address = frame &- 24
    var words = [UInt64](repeating: 0, count: Int(image - address) / 8)
    words[0] = site.popArgument
    words[1] = site.cell
    words[2] = site.storeResult
    words[3] = site.restorer  // pretcode: the frame begins here
    words[4] = 7  // uc_flags: extended state present, stack segment valid
    words[7] = 0x7fff  // ss_flags, invalid on purpose: the kernel then leaves the alternate stack alone
    let raw = registers.raw
    let context = [
      raw.r8, raw.r9, raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15, raw.rdi, raw.rsi, raw.rbp, raw.rbx, raw.rdx,
      raw.rax, raw.rcx, raw.rsp, raw.rip, raw.eflags,
      raw.cs & 0xffff | (raw.ss & 0xffff) << 48,
    ]
    for (index, word) in context.enumerated() { words[9 + index] = word }
    words[9 + 22] = image  // fpstate, behind err, trapno, oldmask, cr2
    words[3 + 38] = mask  // uc_sigmask at 304 of the frame
    bytes = words.withUnsafeBytes { [UInt8]($0) } + SignalFrame.extended(xstate)
    var entry = registers
    var values = arguments.prefix(6) + []
    while values.count < 6 { values.append(0) }
    (entry.raw.rdi, entry.raw.rsi, entry.raw.rdx) = (values[0], values[1], values[2])
    (entry.raw.rcx, entry.raw.r8, entry.raw.r9) = (values[3], values[4], values[5])
    entry.raw.rax = 0
    entry.raw.rip = function
    entry.raw.rsp = address
    entry.raw.eflags = 0x202
    entry.raw.orig_rax = UInt64.max
    entryRegisters = entry
  }

  static let tiles: Range<Int> = {
    var start = 0
    let size = ul_xsave_tiles(&start)
    return start..<start + size
  }()

  /// The register set of any thread is as long as that of one with AMX tiles; of a signal frame that is longer than its own
  /// thread's state the kernel takes x87 and SSE, and forgets the rest. Tiles come last. Without any in use (XSTATE_BV, bit
  /// 18) they are left out.
  private static func fitting(_ xstate: [UInt8], _ tiles: Range<Int>) -> [UInt8] {
    let hasTiles = xstate[514] & 4 != 0
    return !hasTiles && tiles.lowerBound >= 576 && tiles.upperBound == xstate.count ? Array(xstate[..<tiles.lowerBound]) : xstate
  }

  /// The XSAVE image as the kernel wants it in a signal frame: software bytes at 464, a second magic number behind it.
  private static func extended(_ xstate: [UInt8]) -> [UInt8] {
    var image = xstate
    func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
      withUnsafeBytes(of: value.littleEndian) { image.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
    // The register set has the mask of enabled features where the frame has it 8 bytes further on.
    let features = image[464..<472].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    put(UInt32(0x4650_5853), at: 464)  // FP_XSTATE_MAGIC1
    put(UInt32(xstate.count + 4), at: 468)
    put(features, at: 472)
    put(UInt32(xstate.count), at: 480)
    image += withUnsafeBytes(of: UInt32(0x4650_5845).littleEndian) { [UInt8]($0) }  // FP_XSTATE_MAGIC2
    return image
  }
}

/// How a borrowed thread goes on after a bare call.
private struct Homecoming {
  /// Of the signal frame as the restorer finds it.
  let stackPointer: UInt64
  let registers: Registers
  /// The same without the kernel's notes of its wait, when the callee has taken them away.
  let withoutNotes: Registers
  let xstate: [UInt8]
  let mask: UInt64
  /// It has seccomp filters.
  let isFiltered: Bool
  /// Where its errno is, and what it was.
  let errno: (address: UInt64, value: Int32)?
}

extension Registers {
  /// Number -1: no system call is made, and none restarted. A seccomp filter is asked about that number, too, and one that
  /// allows what it lists ends the process: then brk(0), which only tells, and which every process that loads anything may.
  mutating func withoutSystemCall(filtered: Bool) {
    raw.orig_rax = filtered ? 12 : UInt64.max
    if filtered { raw.rdi = 0 }
  }
}

extension TraceSession {
  /// Calls a function in a process without a runtime, on a stopped carrier, and waits for its result (rax).
  ///
  /// As long as we live the last step is not left to rt_sigreturn(2), which forgets how much of a timed system call is left:
  /// the carrier is met at that call and put back from here. When we die it heals itself through the frame.
  ///
  /// - Parameter judge: asked at a fault, before a system call that would harm the program, and at the deadline; unless given
  ///   a fault ends the call, and nothing else is looked at. A callee that is diverted has half a second more.
  public mutating func bareCall(
    on tid: pid_t, _ site: BareCallSite, function: UInt64, arguments: [UInt64], until deadline: Deadline,
    judge: ((CallEvent) -> CallVerdict)? = nil
  ) throws(CodedError) -> UInt64 {
    guard let index = indexes[tid], let stopped = registers(of: tid) else { throw .gone(pid) }
    let restart = SystemCallRestart(stopped)
    var exact = stopped.repeating(restart)
    let again = stopped.reissuingWait(of: tid)
    var healed = again ?? stopped.repeating(restart == .restartBlock ? .again : restart)
    if let abort = try sequenceAbort(of: tid, stopped) {
      exact.programCounter = abort
      healed.programCounter = abort
    }
    var mask: UInt64 = 0
    guard ul_get_signal_mask(tid, &mask) >= 0 else { throw .gone(pid) }
    let xstate = try extendedState(of: tid)
    var errno: (address: UInt64, value: Int32)?
    if let errnoOffset, let number = try? memory.load(stopped.threadPointer &+ errnoOffset, as: Int32.self) {
      errno = (stopped.threadPointer &+ errnoOffset, number)
    }
    let frame = SignalFrame(site: site, function: function, arguments: arguments, registers: healed, xstate: xstate, mask: mask)
    try memory.store(UInt64(0), to: site.cell)
    try memory.write(frame.bytes, to: frame.address)
    setRegisters(frame.entryRegisters, of: tid)
    try commitRegisters(of: tid)
    ul_set_signal_mask(tid, maskDuringCall)
    tracees[index].state = .seized
    ul_keep_wait(again == nil ? 0 : tid, nil, 0)
    defer { ul_keep_wait(0, nil, 0) }
    receipt?.calleeRuns()
    ul_continue_to_system_call(tid, 0)
    return try meet(tid, site, Homecoming(stackPointer: frame.address &+ 32, registers: exact, withoutNotes: healed, xstate: xstate, mask: mask, isFiltered: isFiltered(tid), errno: errno), until: deadline, judge)
  }

  /// Follows the carrier from system call to system call until it asks for rt_sigreturn.
  private mutating func meet(
    _ tid: pid_t, _ site: BareCallSite, _ home: Homecoming, until deadline: Deadline, _ judge: ((CallEvent) -> CallVerdict)?
  ) throws(CodedError) -> UInt64 {
    var limit = deadline
    var looks = 0
    while true {
      var status = ul_wait_status()
      let result = ul_wait(tid, 0, &status)
      if result < 0 || status.kind == UL_WAIT_EXITED || status.kind == UL_WAIT_KILLED {
        tracees[indexes[tid]!].state = .gone
        throw lost(tid)
      }
      // The end of a leader is not reported as long as other threads live.
      if result == 0, tid == pid, ThreadList.state(of: tid, in: pid) == UInt8(ascii: "Z") {
        collectLater(indexes[tid]!)
        throw lost(tid)
      }
      if result > 0 {
        if let value = try advance(tid, status, site, home, judge, isLate: looks > 0) { return value }
        continue
      }
      if limit.hasPassed {
        looks += 1
        if judge == nil || looks > 25 { throw lateBareCall(tid) }
        ul_interrupt(tid)
        limit = Deadline(afterMicroseconds: 20_000)
      }
      ul_attend_sleep(200)
    }
  }

  func isFiltered(_ tid: pid_t) -> Bool {
    // Where nobody can tell it goes home the way that a filter allows as well.
    guard let status = ProcFile.read("/proc/\(pid)/task/\(tid)/status", limit: 8192) else { return true }
    return ProcFile.field("Seccomp", of: status).flatMap(ProcFile.decimal) == 2 && ul_is_seccomp_suspended(tid) == 0
  }

  /// It goes on alone, by way of the frame.
  private mutating func lateBareCall(_ tid: pid_t) -> CodedError {
    if let index = indexes[tid] {
      tracees[index].state = .attended
      tracees[index].registersChanged = false
      tracees[index].shot = nil
    }
    ul_attend(tid, Int32(UL_ATTEND_SERVE))
    return CodedError(
      .callTimeout, "the call in thread \(tid) of process \(pid) did not return in time",
      data: ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid))])
  }

  /// One stop of the carrier. The result once it is back home, nil while it is under way.
  private mutating func advance(
    _ tid: pid_t, _ status: ul_wait_status, _ site: BareCallSite, _ home: Homecoming, _ judge: ((CallEvent) -> CallVerdict)?, isLate: Bool
  ) throws(CodedError) -> UInt64? {
    var registers = Registers()
    guard ul_get_registers(tid, &registers.raw) >= 0 else { throw .gone(pid) }
    let isSystemCall = status.signal == SIGTRAP | 0x80
    if isSystemCall && registers.systemCall == 15 && registers.programCounter == site.restorer + UInt64(BareCallSite.restorerBytes.count) {
      return try comeHome(tid, registers, site, home)
    }
    if let kind = bareEvent(status, tid, isSystemCall: isSystemCall, isLate: isLate, judge != nil) {
      if case .late = kind { ul_spare_restart(tid, &registers.raw) }
      switch judge?(CallEvent(kind: kind, registers: registers)) ?? .abandon {
      case .goOn, .escaped: if case .late = kind, SystemCallRestart(registers) == .interrupted { registers = registers.restartedUnlessHandled() }
      case .goOnWith(let next): registers = next
      case .divert(let next):
        registers = next
        registers.withoutSystemCall(filtered: isSystemCall && home.isFiltered)
      case .abandon:
        try putBack(tid, site, home)
        throw CodedError(
          .callFault, "the call in thread \(tid) of process \(pid) raised signal \(status.signal)",
          data: [
            "pid": .integer(Int64(pid)), "tid": .integer(Int64(tid)), "signal": .integer(Int64(status.signal)),
            "rip": .integer(Int64(bitPattern: registers.programCounter)),
          ])
      }
      ul_set_registers(tid, &registers.raw)
      ul_continue_to_system_call(tid, 0)
      return nil
    }
    ul_continue_to_system_call(tid, isSystemCall || status.event != 0 ? 0 : status.signal)
    return nil
  }

  /// What a stop of the carrier is about, if it needs a decision.
  private func bareEvent(_ status: ul_wait_status, _ tid: pid_t, isSystemCall: Bool, isLate: Bool, _ isJudged: Bool) -> CallEvent.Kind? {
    if isSystemCall || status.event == UL_EVENT_SYSTEM_CALL {
      guard isJudged else { return nil }
      if ul_is_guarded_call(tid) != 0 { return .systemCall }
      // A thread that is followed takes our stop at the end of its system call, which the kernel then repeats.
      var call = ul_system_call()
      return isLate && ul_get_system_call(tid, &call) >= 0 && call.is_exit != 0 ? .late : nil
    }
    if status.event != 0 { return isLate && status.event == UL_EVENT_STOP && status.signal == SIGTRAP ? .late : nil }
    guard [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT].contains(status.signal) else { return nil }
    var number: Int32 = 0
    var code: Int32 = 0
    var address: UInt64 = 0
    ul_get_signal_info(tid, &number, &code, &address)
    // Sent by somebody: the program's own.
    if isJudged && (code == Int32(truncatingIfNeeded: SI_USER) || code == Int32(truncatingIfNeeded: SI_QUEUE)) { return nil }
    return .fault(signal: status.signal, code: code, address: address)
  }

  /// The carrier is about to be healed by rt_sigreturn: it is healed from here.
  private mutating func comeHome(
    _ tid: pid_t, _ found: Registers, _ site: BareCallSite, _ home: Homecoming
  ) throws(CodedError) -> UInt64 {
    var registers = found
    let value = try memory.load(site.cell, as: UInt64.self)
    // Another call takes its place, and the kernel stops again at its exit, where the registers can be set for good. If we die
    // before that, the carrier comes here once more, and is healed.
    registers.withoutSystemCall(filtered: home.isFiltered)
    registers.programCounter = site.restorer
    ul_set_registers(tid, &registers.raw)
    ul_continue_to_system_call(tid, 0)
    var exit = ul_wait_status()
    var waited = ul_wait(tid, 1, &exit)
    while waited == -Int(EINTR) { waited = ul_wait(tid, 1, &exit) }  // Ctrl-C is for whoever called
    guard waited > 0, exit.kind == UL_WAIT_STOPPED else { throw .gone(pid) }
    try putBack(tid, site, home)
    return value
  }

  private mutating func putBack(_ tid: pid_t, _ site: BareCallSite, _ home: Homecoming) throws(CodedError) {
    guard let index = indexes[tid] else { return }
    tracees[index].state = .stopped
    tracees[index].signal = 0
    ul_restore_seccomp(tid)
    if let errno = home.errno { try? memory.store(errno.value, to: errno.address) }
    let result = home.xstate.withUnsafeBytes { ul_set_xstate(tid, $0.baseAddress, $0.count) }
    if result < 0 && result != -Int(ESRCH) {
      // Without memory for a copy the kernel does not take it from here (xstateregs_set): the frame has it, too.
      var registers = home.registers
      registers.withoutSystemCall(filtered: false)
      registers.programCounter = site.restorer
      registers.stackPointer = home.stackPointer
      setRegisters(registers, of: tid)
      return try commitRegisters(of: tid)
    }
    // The registers last: until then the frame would put everything back.
    ul_set_signal_mask(tid, home.mask)
    setRegisters(ul_is_wait_lost(tid) == 0 ? home.registers : home.withoutNotes, of: tid)
    try commitRegisters(of: tid)
  }
}
