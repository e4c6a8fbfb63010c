import CLinux
import CPulpABI
import Diagnostics
import Glibc

/// Something in the course of a call that needs a decision; the carrier is stopped meanwhile.
public struct CallEvent: Sendable {
  public enum Kind: Sendable {
    /// The callee raised a fatal signal; it is caught before the program could see it.
    case fault(signal: Int32, code: Int32, address: UInt64)
    /// A guarded callee is about to make a system call that would harm its program; it has not been made.
    case systemCall
    /// The time limit has passed.
    case late
  }

  public let kind: Kind
  public let registers: Registers
}

/// What is to become of the callee.
public enum CallVerdict: Sendable {
  case goOn
  /// It goes on elsewhere, with these registers. A system call that it was about to make is not made.
  case divert(Registers)
  /// It goes on with these registers, into the system call that it was about to make.
  case goOnWith(Registers)
  /// The call is left for good.
  case abandon
  /// There is no call any more: the thread works for its program again, in a place to which the callee has jumped.
  case escaped(CodedError)
}

extension TraceSession {
  /// Waits for the call's result, and ends a hold of the world in its time. Fails with `call.timeout` (the call goes on and heals itself), `call.lost` (its thread has
  /// ended), `process.gone`.
  ///
  /// - Parameters:
  ///   - limit: from then on `judge` is asked again and again, with growing pauses.
  ///   - deadline: when to stop waiting altogether.
  ///   - relief: for how many microseconds the world may be held for a thread that waits for a lock, see `relieve`; 0: not at all.
  ///   - judge: asked at each event.
  public mutating func awaitCall(
    on tid: pid_t, _ site: CallSite, sequence: UInt64, limit: Deadline? = nil, until deadline: Deadline, relief: UInt64 = 0,
    judge: (CallEvent) -> CallVerdict = { event in if case .fault = event.kind { .abandon } else { .goOn } }
  ) throws(CodedError) -> pulp_mailbox {
    var pause: UInt32 = 10
    var look = limit
    var looks = 0
    var patience: UInt64 = 500
    var hindrance = Hindrance(tid, in: pid)
    while true {
      let state = try memory.load(site.mailbox, as: UInt32.self)
      if state == UInt32(PULP_CALL_DONE.rawValue) || state == UInt32(PULP_CALL_ABANDONED.rawValue) {
        let mailbox = try memory.load(site.mailbox, as: pulp_mailbox.self)
        // A call that was left by force has no result and no number; there is only one call at a time.
        if mailbox.sequence == sequence || state == UInt32(PULP_CALL_ABANDONED.rawValue) {
          followHome(tid, site)
          return mailbox
        }
      }
      let news = self.news(of: tid)
      if news.kind != UL_WAIT_NOTHING {
        // To judge a fault takes time, in which the others need not stand.
        if news.event != UL_EVENT_SYSTEM_CALL || !isFollowed(tid) { resumeHeldWorld() }
        try meet(tid, site, judge)
      }
      // Where we got no processor for seconds, the callee has not been looked at yet.
      if deadline.hasPassed && (limit == nil || looks >= 10) { throw late(tid) }
      if let next = look, next.hasPassed {
        try interruptCall(tid, site, judge)
        looks += 1
        look = Deadline(afterMicroseconds: patience)
        patience = min(patience * 2, 20_000)
      }
      if heldSince != nil && hasHeldEnough(for: tid) { resumeHeldWorld() }
      leadOwner(awaitedBy: tid)
      if relief > 0 { relieve(tid, &hindrance, within: relief) }
      ul_attend_sleep(heldSince == nil ? pause : min(pause, 50))
      pause = min(pause &* 3 / 2 &+ 1, 1000)
      // The end of a leader is not reported as long as other threads live.
      if pause == 1000, tid == pid, ThreadList.state(of: tid, in: pid) == UInt8(ascii: "Z"), let index = indexes[tid] {
        collectLater(index)
        throw lost(tid)
      }
    }
  }

  /// How the attendant treats a carrier that is in its callee.
  func modeInCallee(_ tid: pid_t) -> Int32 { isFollowed(tid) ? Int32(UL_ATTEND_FOLLOW) : calleeMode }

  private func late(_ tid: pid_t) -> CodedError {
    receipt?.call = nil
    return CodedError(
      .callTimeout, "the call in thread \(tid) of process \(pid) did not return in time",
      data: ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid))])
  }

  /// After the result has come the carrier runs its own program again: its faults are the program's.
  public mutating func endCall(on tid: pid_t) {
    guard let index = indexes[tid], tracees[index].state == .attended else { return }
    var held = ul_wait_status()
    ul_unattend(tid, &held)
    if held.kind == UL_WAIT_STOPPED { ul_continue(tid, held.event == 0 ? held.signal : 0) }
    ul_attend(tid, Int32(UL_ATTEND_SERVE))
    ul_keep_wait(0, nil, 0)
    restoreSeccomp(of: tid)
  }

  /// Serves what the attendant has kept of the carrier.
  private mutating func meet(_ tid: pid_t, _ site: CallSite, _ judge: (CallEvent) -> CallVerdict) throws(CodedError) {
    guard let index = indexes[tid] else { return }
    var held = ul_wait_status()
    ul_unattend(tid, &held)
    try serve(index, held, site, judge)
  }

  /// Stops the carrier inside its call. Not by `stop`, which would hand a fault of the callee on to the program.
  private mutating func interruptCall(_ tid: pid_t, _ site: CallSite, _ judge: (CallEvent) -> CallVerdict) throws(CodedError) {
    guard let index = indexes[tid] else { return }
    let patience = Deadline(afterMicroseconds: 500_000)
    var held = ask(index)
    while held.kind == UL_WAIT_NOTHING && !patience.hasPassed {
      // It has ended, and somebody has collected it.
      if ul_wait(tid, 0, &held) < 0 { held.kind = Int32(UL_WAIT_EXITED) }
      if held.kind == UL_WAIT_NOTHING { ul_attend_sleep(50) }
    }
    // In uninterruptible sleep: the stop comes later, and goes to the attendant.
    if held.kind == UL_WAIT_NOTHING { ul_attend(tid, modeInCallee(tid)) } else { try serve(index, held, site, judge, isInterrupted: true) }
  }

  /// `isInterrupted`: we have asked for this stop. A followed or guarded thread takes it at the end of its system call, which
  /// the kernel then repeats.
  private mutating func serve(
    _ index: Int, _ status: ul_wait_status, _ site: CallSite, _ judge: (CallEvent) -> CallVerdict, isInterrupted: Bool = false
  ) throws(CodedError) {
    let tid = tracees[index].tid
    guard status.kind == UL_WAIT_STOPPED else {
      tracees[index].state = .gone
      throw lost(tid)
    }
    if status.event == UL_EVENT_STOP && status.signal != SIGTRAP {
      ul_listen(tid)
      ul_attend(tid, modeInCallee(tid))
      return
    }
    let isCall = status.event == UL_EVENT_SYSTEM_CALL
    if isCall && isFollowed(tid) && !(calleeMode == UL_ATTEND_GUARD && ul_is_guarded_call(tid) != 0) {
      guard isInterrupted else { return follow(tid, site) }
      var call = ul_system_call()
      if ul_get_system_call(tid, &call) >= 0 { receipt?.call?.note(call) }
    }
    var registers = Registers()
    guard ul_get_registers(tid, &registers.raw) >= 0 else { throw .gone(pid) }
    let isSpared = ul_spare_restart(tid, &registers.raw) != 0
    guard let kind = kind(of: status, tid) else {
      // Sent by somebody (kill, sigqueue), not raised by what the callee did: it is the program's, as it would be without us.
      tracees[index].state = .stopped
      tracees[index].signal = status.event == 0 ? status.signal : 0
      return resume(tid, inCallee: true)
    }
    tracees[index].state = .stopped
    tracees[index].signal = 0
    tracees[index].registers = registers
    tracees[index].registersChanged = isSpared
    switch judge(CallEvent(kind: kind, registers: registers)) {
    case .goOn:
      if case .fault = kind { tracees[index].signal = status.signal }
      if isCall && isFollowed(tid) && !isInterrupted {
        tracees[index].state = .attended
        return follow(tid, site)
      }
      if case .late = kind, SystemCallRestart(registers) == .interrupted { setRegisters(registers.restartedUnlessHandled(), of: tid) }
    case .divert(let next): try divert(tid, next)
    case .goOnWith(let next):
      setRegisters(next, of: tid)
      try commitRegisters(of: tid)
    case .abandon: try divert(tid, abandoning(site, registers))
    case .escaped(let error):
      receipt?.call = nil
      ul_set_signal_mask(tid, activeMask)
      if case .fault = kind { tracees[index].signal = status.signal }
      if case .late = kind, SystemCallRestart(registers) == .interrupted { setRegisters(registers.restartedUnlessHandled(), of: tid) }
      resume(tid)
      throw error
    }
    resume(tid, inCallee: true)
  }

  /// A system call at whose entry the thread stands is not made, and none is restarted.
  private mutating func divert(_ tid: pid_t, _ next: Registers) throws(CodedError) {
    var next = next
    var call = ul_system_call()
    let isEntry = ul_get_system_call(tid, &call) >= 0 && call.is_entry != 0
    next.withoutSystemCall(filtered: isEntry && isFiltered(tid))
    setRegisters(next, of: tid)
    try commitRegisters(of: tid)
  }

  /// Nil for a signal that is the program's own.
  private func kind(of status: ul_wait_status, _ tid: pid_t) -> CallEvent.Kind? {
    if status.event == UL_EVENT_SYSTEM_CALL { return ul_is_guarded_call(tid) != 0 ? .systemCall : .late }
    if status.event != 0 { return .late }
    guard [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT].contains(status.signal) else { return nil }
    var number: Int32 = 0
    var code: Int32 = 0
    var address: UInt64 = 0
    ul_get_signal_info(tid, &number, &code, &address)
    if code == Int32(truncatingIfNeeded: SI_USER) || code == Int32(truncatingIfNeeded: SI_QUEUE) { return nil }
    return .fault(signal: status.signal, code: code, address: address)
  }

  /// The carrier has ended in the middle of its call: with its process, or alone.
  func lost(_ tid: pid_t) -> CodedError {
    let grace = Deadline(afterMicroseconds: 20_000)
    while !grace.hasPassed {
      let state = ThreadList.state(of: pid, in: pid)
      if state == UInt8(ascii: "X") || state == nil && ThreadList.isAbsent(pid, in: pid) { return .gone(pid) }
      if state == UInt8(ascii: "Z") && ThreadList.read(of: pid).allSatisfy({ ThreadList.hasEnded($0, in: pid) }) { return .gone(pid) }
      ul_attend_sleep(1000)
    }
    return CodedError(
      .callLost, "thread \(tid) of process \(pid) ended in the middle of a call",
      data: ["pid": .integer(Int64(pid)), "tid": .integer(Int64(tid))])
  }

  /// Registers that leave the callee for good. The callee may have lost the address of the frame, we have not.
  private func abandoning(_ site: CallSite, _ registers: Registers) -> Registers {
    var next = registers
    next.raw.rip = site.abandon
    next.raw.rsp = site.stack.upperBound
    next.raw.eflags = 0x202
    next.raw.r12 = activeFrame
    return next
  }
}
