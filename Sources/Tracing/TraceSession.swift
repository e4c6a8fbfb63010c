import CLinux
import Diagnostics
import Glibc

/// A thread under ptrace.
struct Tracee {
  enum State {
    /// Seized and running; its signal stops are served by the attendant.
    case attended
    /// Seized and running, about to be stopped: nobody serves it for these microseconds.
    case seized
    /// Stopped by us, with the signal it was about to receive, if any.
    case stopped
    /// Stopped by a signal, as the whole process is: it must not run on our account.
    case groupStopped
    /// Ended while we held it.
    case gone
  }

  let tid: pid_t
  var state: State
  /// A signal met on the way to the stop, delivered when the thread goes on.
  var signal: Int32 = 0
  /// Filled at the stop.
  var registers = Registers()
  var registersChanged = false
  /// CLOCK_MONOTONIC nanoseconds of the stop.
  var stoppedAt: UInt64 = 0
  /// How the thread was when it stopped, and who wants to know; nil without a receipt.
  var shot: ThreadShot?
  var receipt: Receipt?

  var isRunning: Bool { state == .attended || state == .seized }
}

/// The threads of one process that this program has seized, and the right to change that process.
///
/// The right is the SEIZE of the process's leader, or of its lowest live thread once the leader has ended (thread IDs wrap: a
/// thread that starts later may be lower than any other). One tracer at a time can have it, and the kernel takes it back when
/// we die. Nothing else locks anything, so nothing can be left locked.
///
/// Seizing stops nothing (PTRACE_SEIZE, ptrace(2)). A seized thread stops when a signal reaches it, until the tracer has
/// served it; so while the session lives, running threads are in the attendant's care. Stops are short and counted.
/// All requests must come from the OS thread that created the session.
public struct TraceSession: ~Copyable {
  public let pid: pid_t
  public let memory: ProcessMemory
  var tracees: [Tracee] = []
  var indexes: [pid_t: Int] = [:]
  /// The same as `tracees.map(\.tid)`, in the form that C reads.
  private var tids: [pid_t] = []
  /// The longest world-stop that served to come by a carrier, in nanoseconds.
  public internal(set) var borrowPause: UInt64 = 0
  /// Since when the world is stopped for a call, and until when at most.
  var heldSince: UInt64?
  var heldUntil = Deadline(afterMicroseconds: 0)
  /// Until when `heldUntil` may be put off for a thread that has no processor.
  var holdLimit = Deadline(afterMicroseconds: 0)
  /// The processor time that this thread had used when it was put off first, in nanoseconds.
  var heldUsage: UInt64?
  var timedRestarts: [pid_t: TimedRestart] = [:]
  /// The frame of the call in progress, in the target.
  var activeFrame: UInt64 = 0
  /// The signal mask that its carrier had.
  var activeMask: UInt64 = 0
  /// How the attendant treats the carrier of the call in progress: UL_ATTEND_HOLD_FAULTS or UL_ATTEND_GUARD.
  var calleeMode = Int32(UL_ATTEND_HOLD_FAULTS)
  /// The thread whose SEIZE is the exclusive right.
  public private(set) var rightHolder: pid_t = 0
  /// Where errno lies from a thread's pointer, for calls that have to leave it as it was; nil: unknown.
  public var errnoOffset: UInt64?
  /// Compares the process before and after each step; nil unless receipts are wanted.
  public let receipt: Receipt?

  /// Takes the right to change the process. Fails with `operation.busy` (another ulpsh), `process.traced`,
  /// `process.permission`, `process.gone`.
  public init(_ memory: ProcessMemory) throws(CodedError) {
    self.memory = memory
    pid = memory.pid
    receipt = Receipt.ifWanted(memory.pid)
    try takeRight()
  }

  deinit {
    TraceSession.letGo(tracees, memory)
    letGoOfNewProgram()
  }

  private mutating func takeRight() throws(CodedError) {
    // In the middle of an execve(2) threads are ending, and one takes the leader's number: the kernel says EPERM of such.
    for attempt in 1... {
      do throws(CodedError) { return try takeFirstRight() } catch {
        if memory.isReplaced { throw .replaced(pid) }
        guard error.code == .processPermission, attempt < 20 else { throw error }
        usleep(500)
      }
    }
  }

  private mutating func takeFirstRight() throws(CodedError) {
    if try takeRight(with: pid) { return }
    for tid in try ThreadList.all(of: pid) where tid != pid {
      if try takeRight(with: tid) { return }
    }
    throw .gone(pid)
  }

  /// False for a leader that called pthread_exit and stays as a zombie: the right moves to the next thread.
  private mutating func takeRight(with tid: pid_t) throws(CodedError) -> Bool {
    do {
      try seize(tid)
      rightHolder = tid
      return true
    } catch {
      if ThreadList.hasEnded(tid, in: pid) || ThreadList.isKernelWorker(tid, in: pid) { return false }
      throw error
    }
  }

  // MARK: - One thread

  /// Seizes a thread and gives it to the attendant; nothing stops. No effect on a thread that is seized already.
  /// `briefly`: the caller stops it at once, so nobody need attend to it.
  public mutating func seize(_ tid: pid_t, briefly: Bool = false) throws(CodedError) {
    if indexes[tid] != nil { return }
    let result = ul_seize_reaping(tid, tids, Int32(tids.count))
    if result == -Int(ECHILD) { letGoOfNewProgram() }
    guard result >= 0 else { throw .seizeRefused(tid, of: pid, errno: Int32(-result)) }
    indexes[tid] = tracees.count
    tids.append(tid)
    tracees.append(Tracee(tid: tid, state: briefly ? .seized : .attended))
    if !briefly { ul_attend(tid, Int32(UL_ATTEND_SERVE)) }
  }

  /// Takes a running thread back from the attendant and asks it to stop. Returns what the attendant had kept of it.
  mutating func ask(_ index: Int) -> ul_wait_status {
    var held = ul_wait_status()
    if tracees[index].state == .attended { ul_unattend(tracees[index].tid, &held) }
    if held.kind == UL_WAIT_NOTHING { ul_interrupt(tracees[index].tid) }
    return held
  }

  /// Stops one seized thread. False when it has ended. Fails with `process.unstoppable` at the deadline, or
  /// sooner for a thread in uninterruptible sleep (it runs on, still seized), `process.stopped` when the process is in a group-stop.
  ///
  /// `orAtSystemCall`: a thread that is followed and stands at a system call, as at the end of a guarded call, may stay there. It
  /// can be let go from there, and need not wait for its turn among all that want a processor.
  public mutating func stop(_ tid: pid_t, until deadline: Deadline, orAtSystemCall: Bool = false) throws(CodedError) -> Bool {
    guard let index = indexes[tid] else { return false }
    if !tracees[index].isRunning { return tracees[index].state == .stopped }
    let held = ask(index)
    ul_watchdog_start(UInt32(clamping: deadline.remainingMicroseconds))
    defer { ul_watchdog_stop() }
    try awaitStop(index, held, until: deadline, orAtSystemCall: orAtSystemCall)
    return tracees[index].state == .stopped
  }

  /// Waits until the interrupted thread is stopped or gone. Signals met on the way are handed on at once: the thread runs
  /// into its handler and stops there.
  ///
  /// `fromSleep`: it was asleep when it was asked, just now, in a call that has to be mended.
  mutating func awaitStop(
    _ index: Int, _ held: ul_wait_status, until deadline: Deadline, orAtSystemCall: Bool = false, fromSleep: Bool = false
  ) throws(CodedError) {
    let tid = tracees[index].tid
    var status = held
    var isLeft = false
    let patience = Deadline(afterMicroseconds: 50_000)
    while true {
      if status.kind == UL_WAIT_NOTHING {
        let result = ul_wait_leaving_stop(tid, fromSleep ? 0 : 1, &status)
        isLeft = true
        if result < 0 && -result != EINTR { return forget(index) }
        if result <= 0 {
          let state = ThreadList.state(of: tid, in: pid)
          if state == UInt8(ascii: "Z") { return collectLater(index) }  // a leader whose threads live on
          // A thread that waits for a processor will come; one in uninterruptible sleep (vfork, a dead disk) may not.
          if deadline.hasPassed || (patience.hasPassed && state == UInt8(ascii: "D")) { throw giveUp(index) }
          continue
        }
      }
      switch Int(status.kind) {
      case UL_WAIT_STOPPED where status.event == UL_EVENT_STOP && status.signal != SIGTRAP:
        tracees[index].state = .groupStopped
        throw CodedError(
          .processStopped, "process \(pid) is stopped by signal \(status.signal)", data: ["pid": .integer(Int64(pid))])
      case UL_WAIT_STOPPED where status.event == UL_EVENT_STOP:
        let result = enterStop(index)
        if isLeft { ul_collect_stop(tid) }
        if result == -Int(ESRCH) { return collectLater(index) }
        if result >= 0 { return }
        // Whose registers cannot be read must not count as one that has ended: it would run while the world stands.
        ul_continue(tid, 0)
        throw giveUp(index)
      case UL_WAIT_STOPPED where orAtSystemCall && status.event == UL_EVENT_SYSTEM_CALL:
        tracees[index].state = .stopped
        tracees[index].registersChanged = false
        return
      case UL_WAIT_STOPPED:
        if status.event == 0 { ul_spare_interruption(tid, status.signal) }
        // Any stop takes back the request for one. A signal is looked at after the request, but one of a timer with the lock
        // released in between, and then it takes back what came meanwhile. Asking twice is asking once.
        ul_interrupt(tid)
        ul_continue(tid, status.event == 0 ? status.signal : 0)
        status = ul_wait_status()
        if deadline.hasPassed { throw giveUp(index) }
      default:
        return forget(index)
      }
    }
  }

  /// Returns what PTRACE_GETREGS says.
  private mutating func enterStop(_ index: Int) -> Int {
    let result = ul_get_registers(tracees[index].tid, &tracees[index].registers.raw)
    if result < 0 { return result }
    tracees[index].state = .stopped
    tracees[index].signal = 0
    tracees[index].registersChanged = false
    tracees[index].stoppedAt = Deadline.now
    if let receipt {
      tracees[index].shot = ThreadShot(tracees[index].tid, memory, errnoOffset: receipt.errnoOffset)
      tracees[index].receipt = receipt
    }
    repeatInterruptedCall(index)
    return result
  }

  private mutating func forget(_ index: Int) { tracees[index].state = .gone }

  /// A thread that ends in our hands cannot be detached any more, and its end is reported to us first: until we have taken
  /// note of it the process's parent waits in vain, and so does an execve beside it.
  mutating func collectLater(_ index: Int) {
    ul_attend(tracees[index].tid, Int32(UL_ATTEND_LET_GO))
    forget(index)
  }

  /// The thread stays ours and in the attendant's care, which lets it go on at the stop that is still to come.
  private mutating func giveUp(_ index: Int) -> CodedError {
    let tid = tracees[index].tid
    tracees[index].state = .attended
    ul_attend(tid, Int32(UL_ATTEND_SERVE))
    return .unstoppable(tid, of: pid)
  }

  // MARK: - Interrupted system calls

  /// A plain EINTR that only our stop caused is turned into a repetition, at once: should we die during the stop, the program
  /// does not see it. If a signal reaches the thread before it goes on, the kernel makes an EINTR of it again. The second time in
  /// one session only the rest of the timeout is waited. The same is done about a call that the kernel would go on with by
  /// restart_syscall(2), where a filter forbids that.
  private mutating func repeatInterruptedCall(_ index: Int) {
    let registers = tracees[index].registers
    let tid = tracees[index].tid
    var changed: Registers
    switch SystemCallRestart(registers) {
    case .interrupted: changed = registers.restartedUnlessHandled()
    case .restartBlock:
      changed = registers
      guard ul_spare_restart(tid, &changed.raw) != 0 else { return }
    default: return
    }
    if let restart = TimedRestart(registers, after: timedRestarts[tid]) {
      timedRestarts[tid] = restart
      changed.raw[keyPath: restart.place] = restart.timeout
    }
    tracees[index].registers = changed
    tracees[index].registersChanged = ul_set_registers(tid, &changed.raw) < 0
  }

  // MARK: - Registers of stopped threads

  /// The registers of a stopped thread as it will go on with, nil when it is not stopped.
  public func registers(of tid: pid_t) -> Registers? {
    guard let index = indexes[tid], tracees[index].state == .stopped else { return nil }
    return tracees[index].registers
  }

  /// When a stopped thread was found stopped, in nanoseconds of CLOCK_MONOTONIC.
  public func stopTime(of tid: pid_t) -> UInt64? { indexes[tid].map { tracees[$0].stoppedAt } }

  /// Changes the registers a stopped thread goes on with. They reach the kernel at `commitRegisters` or when it goes on.
  public mutating func setRegisters(_ registers: Registers, of tid: pid_t) {
    guard let index = indexes[tid], tracees[index].state == .stopped else { return }
    tracees[index].registers = registers
    tracees[index].registersChanged = true
  }

  /// Hands changed registers to the kernel: one PTRACE_SETREGS, atomic for the thread.
  public mutating func commitRegisters(of tid: pid_t) throws(CodedError) {
    guard let index = indexes[tid], tracees[index].state == .stopped, tracees[index].registersChanged else { return }
    let result = ul_set_registers(tid, &tracees[index].registers.raw)
    guard result >= 0 else { throw .gone(pid) }
    tracees[index].registersChanged = false
  }

  // MARK: - Going on

  /// Lets a stopped thread run, still seized and attended.
  public mutating func resume(_ tid: pid_t) { resume(tid, inCallee: false) }

  /// `inCallee`: it runs a foreign function, whose faults are not the program's.
  mutating func resume(_ tid: pid_t, inCallee: Bool) {
    guard let index = indexes[tid], !tracees[index].isRunning, tracees[index].state != .gone else { return }
    let mode = inCallee ? modeInCallee(tid) : Int32(UL_ATTEND_SERVE)
    if tracees[index].state == .groupStopped {
      ul_listen(tid)
    } else {
      if tracees[index].registersChanged { ul_set_registers(tid, &tracees[index].registers.raw) }
      tracees[index].compare(memory)
      tracees[index].shot = nil
      if mode >= UL_ATTEND_FOLLOW { ul_continue_to_system_call(tid, tracees[index].signal) } else { ul_continue(tid, tracees[index].signal) }
    }
    tracees[index].signal = 0
    tracees[index].state = .attended
    ul_attend(tid, mode)
  }

  /// Detaches a thread for good. One that runs is stopped for the moment that PTRACE_DETACH needs; one that cannot be
  /// stopped is detached by the attendant when it comes to it.
  public mutating func release(_ tid: pid_t, until deadline: Deadline = Deadline(afterMicroseconds: 2_000_000)) {
    guard let index = indexes[tid] else { return }
    if tracees[index].isRunning { _ = try? stop(tid, until: deadline, orAtSystemCall: true) }
    TraceSession.letGo([tracees[index]], memory)
    remove(index)
  }

  mutating func remove(_ index: Int) {
    indexes[tracees[index].tid] = nil
    let last = tracees.removeLast()
    tids.removeLast()
    if index < tracees.count {
      tracees[index] = last
      tids[index] = last.tid
      indexes[last.tid] = index
    }
  }

  /// Ends the session: every thread goes on as if we had not been there.
  public consuming func end() {
    let held = tracees.map(\.tid)
    for tid in held { release(tid) }
  }

  /// A thread of ours that executed another program goes on as the leader, still traced, under a number that we may not have.
  private func letGoOfNewProgram() {
    if indexes[pid] == nil && ul_interrupt(pid) >= 0 { ul_attend(pid, Int32(UL_ATTEND_LET_GO)) }
  }

  static func detach(_ tracee: Tracee, _ memory: ProcessMemory) {
    guard tracee.state == .stopped || tracee.state == .groupStopped else { return }
    if tracee.registersChanged {
      var raw = tracee.registers.raw
      ul_set_registers(tracee.tid, &raw)
    }
    tracee.compare(memory)
    let isCalling = tracee.state != .stopped || tracee.registers.systemCall != nil
    detach(tracee.tid, tracee.signal, atOnce: !isCalling)
  }

  /// One that was killed while it was stopped is collected when it has ended.
  /// `atOnce`: it is known to stand in no system call.
  private static func detach(_ tid: pid_t, _ signal: Int32, atOnce: Bool = false) {
    let result = atOnce ? ul_detach_at_once(tid, signal) : ul_detach(tid, signal)
    if result < 0 { ul_attend(tid, Int32(UL_ATTEND_LET_GO)) }
  }

  /// Last resort, when an error ends the session: running threads are detached by the attendant at their next stop.
  static func letGo(_ tracees: [Tracee], _ memory: ProcessMemory) {
    for tracee in tracees {
      switch tracee.state {
      case .stopped, .groupStopped: detach(tracee, memory)
      case .attended, .seized:
        var held = ul_wait_status()
        if tracee.state == .attended { ul_unattend(tracee.tid, &held) }
        if held.kind == UL_WAIT_STOPPED {
          detach(tracee.tid, held.event == 0 ? held.signal : 0)
        } else if held.kind == UL_WAIT_NOTHING {
          ul_attend(tracee.tid, Int32(UL_ATTEND_LET_GO))
          ul_interrupt(tracee.tid)
        }
      case .gone: break
      }
    }
  }

  /// What the attendant kept of a running thread: a fault or its end.
  public func news(of tid: pid_t) -> ul_wait_status {
    var status = ul_wait_status()
    ul_attended(tid, &status)
    return status
  }
}

@available(*, unavailable) extension TraceSession: Sendable {}
