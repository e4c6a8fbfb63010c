import CLinux
import CPulpABI
import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// The right to change one process, and the two ways to use it: a call on a borrowed thread, and a world-stop.
///
/// Lives from `stage` to `settle` (or for one call); nothing of the process is stopped in between.
final class ChangeSession {
  let process: TargetProcess
  let runtime: PulpRuntime
  private var stored: TraceSession?
  /// Present for as long as this object lives.
  var trace: TraceSession {
    _read { yield stored! }
    _modify { yield &stored! }
  }
  /// How long threads were borrowed altogether, in nanoseconds.
  private(set) var carrierNanoseconds: UInt64 = 0
  /// What the process was like before and after; nil unless receipts are wanted.
  let receipt: Receipt?
  /// What is done about the filters of threads that are borrowed.
  var seccomp = SeccompPolicy.check
  /// The operator's limits in microseconds: of one world-stop, and of unloading a container.
  var maxPause: UInt64?
  var maxCarrier: UInt64?
  var pauseLimit: UInt64 { min(maxPause ?? .max, PatchOperation.stopLimit) }
  /// The next call is the last one, and the session ends right after it.
  var isEnding = false
  /// The longest world-stop that is allowed to come by a carrier, in microseconds.
  var borrowLimit: UInt64 = 100_000
  private var sequence: UInt64
  /// The last carrier and its registers when it was borrowed: what the next stop may look like.
  private(set) var lastCarrier: (tid: pid_t, registers: Registers)?

  /// Fails with `process.stopped`, `process.traced`, `operation.busy`, `process.permission`, `process.gone`,
  /// `process.shadow_stack`, `process.frozen`.
  init(_ runtime: PulpRuntime) throws(CodedError) {
    process = runtime.process
    self.runtime = runtime
    try process.checkTraceable(ChangeSession.factsAfterOurselves(process))
    sequence = Deadline.now
    let trace = try TraceSession(process.memory)
    receipt = trace.receipt
    receipt?.errnoOffset = process.errnoOffset
    stored = consume trace
  }

  /// A thread that our last session could not stop (vfork) is let go at its next stop; until then we are its tracer.
  private static func factsAfterOurselves(_ process: TargetProcess) throws(CodedError) -> ProcessFacts {
    let grace = Deadline(afterMicroseconds: 500_000)
    var facts = try process.facts()
    while facts.tracer == ul_thread_id() && !grace.hasPassed {
      ul_attend_sleep(1000)
      facts = try process.facts()
    }
    guard facts.tracer != ul_thread_id() else {
      throw CodedError(
        .processUnstoppable, "thread \(process.pid) of process \(process.pid) was asked to stop before and has not come to it yet",
        data: ["pid": .integer(Int64(process.pid)), "tid": .integer(Int64(process.pid))])
    }
    return facts
  }

  /// Detaches everything before it returns: the next operation may begin at once.
  deinit { stored.take()?.end() }

  // MARK: - Calls

  /// What a call left in the mailbox.
  struct Answer {
    let value: UInt64
    let high: UInt64
    let text: String
    let carrier: pid_t
    let nanoseconds: UInt64
    /// What a constructor or destructor did that it was forced out of; the loader was led on.
    let fault: CodedError?
  }

  /// What is known of a callee, and so how it is treated.
  enum Callee {
    /// A function of the runtime that calls nobody else's: it is taken out of only by a fault.
    case own
    /// The same of any function of the process: it may sleep.
    case foreign
    /// The runtime's own, below which the loader runs code of the container: that is forced out when it does not return.
    /// `guarded`: it is not let into system calls that would harm the program. `patient`: nothing is forced out for its time.
    case loading(guarded: Bool, patient: Bool = false)
    /// The same, guarded, with the destructors of the container that lies there.
    case unloading(Range<UInt64>)
  }

  /// How long the loader has, after the time limit, to come to its end.
  static let grace: UInt64 = 2_000_000

  /// Runs a function of the process on a thread that can safely be borrowed. Fails with `carrier.none`, `call.busy`,
  /// `call.timeout`, `call.fault`, `call.lost`, `seccomp.*`, `process.gone`.
  func call(
    _ function: UInt64, _ arguments: [UInt64] = [], until deadline: Deadline, on wanted: pid_t? = nil,
    maxCarrier: UInt64? = nil, callee: Callee = .own, needs: SeccompNeeds = []
  ) throws(CodedError) -> Answer {
    do throws(CodedError) {
      return try callUnexplained(
        function, arguments, until: deadline, on: wanted, maxCarrier: maxCarrier, callee: callee, needs: needs)
    } catch { throw process.explained(error) }
  }

  private func callUnexplained(
    _ function: UInt64, _ arguments: [UInt64], until deadline: Deadline, on wanted: pid_t?, maxCarrier: UInt64?, callee: Callee,
    needs: SeccompNeeds
  ) throws(CodedError) -> Answer {
    try checkIdle()
    ul_urgent(Int32(UL_URGENT_CALL), 1)
    defer { ul_urgent(Int32(UL_URGENT_CALL), 0) }
    let tid = try process.borrowCarrier(
      &trace, site: runtime.callSite, until: deadline, only: wanted, seccomp: seccomp, needs: needs, worldLimit: borrowLimit)
    let borrowed = trace.stopTime(of: tid) ?? Deadline.now
    let watch: CalleeWatch
    let mailbox: pulp_mailbox
    do throws(CodedError) {
      watch = try begin(function, arguments, on: tid, callee, limitsCarrier: (maxCarrier ?? .max) < deadline.remainingMicroseconds)
      mailbox = try wait(for: tid, watch, callee, deadline, maxCarrier)
    } catch {
      trace.resumeHeldWorld()
      throw error
    }
    trace.endCall(on: tid)
    if isEnding { trace.resumeHeldWorld(afterLastCallOn: tid, runtime.callSite) } else { trace.resumeHeldWorld() }
    let elapsed = Deadline.now - borrowed
    carrierNanoseconds += elapsed
    if let fault = watch.fault, mailbox.state == UInt32(PULP_CALL_ABANDONED.rawValue) { throw fault }
    return Answer(
      value: mailbox.result, high: mailbox.result_high, text: runtime.mailboxText(mailbox), carrier: tid, nanoseconds: elapsed,
      fault: watch.fault)
  }

  private func begin(
    _ function: UInt64, _ arguments: [UInt64], on tid: pid_t, _ callee: Callee, limitsCarrier: Bool
  ) throws(CodedError) -> CalleeWatch {
    let site = runtime.callSite
    lastCarrier = trace.registers(of: tid).map { (tid, $0) }
    let hasOwnStack = trace.registers(of: tid).map { process.isOnOwnStack(tid, $0) } ?? true
    let home = hasOwnStack ? lastCarrier.flatMap { process.map.mapping(containing: $0.registers.stackPointer)?.range } : nil
    sequence += 1
    var isGuarded = false
    var isForeign = false
    var leaving: Range<UInt64>?
    switch callee {
    case .own: break
    case .foreign: isForeign = true
    case .loading(let guarded, _): isGuarded = guarded
    case .unloading(let container): (isGuarded, leaving) = (true, container)
    }
    let watch = try CalleeWatch(process, tid, limitsCarrier: limitsCarrier, site: site, home: home, leaving: leaving, isGuarded: isGuarded)
    try process.applySeccomp(seccomp, to: tid, &trace, site: site)
    try trace.beginCall(
      on: tid, site, function: function, arguments: arguments, sequence: sequence, owner: process.identity, guarded: isGuarded,
      foreign: isForeign, inCallStack: !hasOwnStack, home: home)
    return watch
  }

  private func wait(
    for tid: pid_t, _ watch: CalleeWatch, _ callee: Callee, _ deadline: Deadline, _ maxCarrier: UInt64?
  ) throws(CodedError) -> pulp_mailbox {
    let limit = maxCarrier.map { Deadline(afterMicroseconds: min($0, deadline.remainingMicroseconds)) } ?? deadline
    var end = limit
    var forced: Deadline?
    var isForeign = false
    switch callee {
    case .foreign: isForeign = true
    case .own, .loading(_, patient: true): break
    case .loading, .unloading:
      forced = limit
      end = Deadline(afterMicroseconds: limit.remainingMicroseconds + ChangeSession.grace)
    }
    do {
      return try trace.awaitCall(
        on: tid, runtime.callSite, sequence: sequence, limit: forced, until: end, relief: isForeign ? 0 : borrowLimit
      ) { watch.judge($0) }
    } catch {
      guard let ending = watch.ending, error.code == .processGone || error.code == .callLost else { throw error }
      var known = error
      known.message += ": the container \(ending)"
      throw known.with("cause", .text("exit"))
    }
  }

  /// A call that an earlier tool began may still run, on the only call stack. Its thread's registers tell for sure.
  func checkIdle() throws(CodedError) {
    let site = runtime.callSite
    let mailbox = try process.memory.load(site.mailbox, as: pulp_mailbox.self)
    let state = mailbox.state
    // With its frame in the call stack a carrier that has its result is on it for a little longer.
    guard state == UInt32(PULP_CALL_ARMED.rawValue) || state == UInt32(PULP_CALL_RUNNING.rawValue) || mailbox.frame_in_stack != 0,
      mailbox.owner_pid == process.identity.pid, mailbox.owner_start == process.identity.startTime
    else { return }
    let tid = pid_t(truncatingIfNeeded: mailbox.carrier)
    guard try ThreadList.all(of: process.pid).contains(tid) else { return }
    try trace.seize(tid)
    guard try trace.stop(tid, until: Deadline(afterMicroseconds: 50_000)), let registers = trace.registers(of: tid) else { return }
    let isInside = site.isInside(registers)
    if tid == trace.rightHolder { trace.resume(tid) } else { trace.release(tid) }
    guard isInside else { return }
    throw CodedError(
      .callBusy, "a call of an earlier ulpsh still runs in thread \(tid) of process \(process.pid)",
      data: ["pid": .integer(Int64(process.pid)), "tid": .integer(Int64(tid))])
  }

  // MARK: - World-stops

  /// A carrier that has just delivered its result may still be on its way back into its own code: its registers are then
  /// the runtime's, not its own. That lasts microseconds once it has a processor, so the stop is repeated, not at once.
  func stopWorld(until deadline: Deadline) throws(CodedError) -> WorldStop {
    let site = runtime.callSite
    var pause: UInt32 = 20
    while true {
      let world: WorldStop
      do throws(CodedError) { world = try trace.stopWorld(until: deadline, urgently: true) } catch { throw process.explained(error) }
      var isReturning = false
      trace.forEachStopped { _, registers in
        if site.isInside(registers) { isReturning = true }
        return false
      }
      if !isReturning || deadline.hasPassed { return world }
      trace.resumeWorld()
      ul_attend_sleep(pause)
      pause = min(pause * 2, 1000)
    }
  }

  /// Stops the world with every thread out of stubs, paddings and entry bytes, also those whose interrupted place lies in
  /// a signal frame: they are let go and met again. Afterwards slots are unreachable and entries may be rewritten.
  func stopWorldAtRest(_ check: WorldCheck, _ unwinder: StackUnwinder, until deadline: Deadline) throws(CodedError) -> WorldStop {
    while true {
      // The last attempt gets time for its stop, too, or a late handler would look like a thread that cannot be stopped.
      let world = try stopWorld(until: Deadline(afterMicroseconds: pauseLimit))
      do throws(CodedError) {
        try check.rewindAll(&trace)
        guard let tid = try firstInTransit(check, unwinder) else { return world }
        if deadline.hasPassed {
          throw CodedError(
            .patchBlocked, "thread \(tid) of process \(process.pid) was interrupted by a signal inside a detour and did not leave it in time",
            data: ["pid": .integer(Int64(process.pid)), "tid": .integer(Int64(tid))])
        }
      } catch {
        trace.resumeWorld()
        throw error
      }
      trace.resumeWorld()
      ul_attend_sleep(200)
    }
  }

  /// Within the operator's limit, a thread that does not stand in time is a pause that would be too long. `what` is true then.
  func pauseError(_ error: CodedError, _ what: String) -> CodedError { runtime.pauseError(error, maxPause, what) }

  /// Asked while the world stands, before anything is written.
  func checkPause(_ world: WorldStop, _ what: String) throws(CodedError) {
    if let maxPause, Deadline.now - world.began > maxPause &* 1000 { throw runtime.tooLong(maxPause, what) }
  }

  private func firstInTransit(_ check: WorldCheck, _ unwinder: StackUnwinder) throws(CodedError) -> pid_t? {
    for tid in trace.stoppedThreads {
      guard let registers = trace.registers(of: tid) else { continue }
      if runtime.callSite.isInside(registers) { return tid }
      if try check.blocker(tid, registers, unwinder, checksStack: false) != nil { return tid }
    }
    return nil
  }

  // MARK: - Who is in a container

  /// What `occupants` says, with a stop of its own.
  func findOccupants(of patches: [LoadedPatch]) throws(CodedError) -> [UInt64: Occupancy] {
    if patches.isEmpty { return [:] }
    for attempt in 1... {
      let unwinder = process.currentUnwinder()
      do throws(CodedError) {
        _ = try stopWorld(until: Deadline(afterMicroseconds: pauseLimit))
      } catch {
        guard error.code == .processUnstoppable, attempt < 8 else { throw error }
        continue
      }
      defer { trace.resumeWorld() }
      return occupants(of: patches, unwinder)
    }
    return [:]
  }

  // MARK: - Writes into the journal

  private var operationAddress: UInt64 { runtime.ext.operation }

  func setOperationState(_ state: pulp_operation_state) throws(CodedError) {
    let offset = UInt64(MemoryLayout<pulp_operation>.offset(of: \.state)!)
    if state == PULP_OP_IDLE { try runtime.emptyQueue() }
    try process.memory.store(UInt32(state.rawValue), to: operationAddress + offset)
  }

  /// Readers repeat while the generation is odd or has changed.
  func changingLists(_ body: () throws(CodedError) -> Void) throws(CodedError) {
    let generation = try process.memory.load(operationAddress, as: UInt64.self)
    let odd = generation | 1
    try process.memory.store(odd, to: operationAddress)
    try body()
    try process.memory.store(odd &+ 1, to: operationAddress)
  }
}

extension PulpRuntime {
  func pauseError(_ error: CodedError, _ maxPause: UInt64?, _ what: String) -> CodedError {
    guard error.code == .processUnstoppable, let maxPause, maxPause < PatchOperation.stopLimit else { return error }
    return tooLong(maxPause, what)
  }

  fileprivate func tooLong(_ limit: UInt64, _ what: String) -> CodedError {
    CodedError(
      .switchPause, "process \(process.pid): stopping took longer than \(limit) us; \(what)",
      hint: "the next change finishes it, or `ulpsh recover`",
      data: ["pid": .integer(Int64(process.pid)), "max_pause_us": .integer(Int64(limit))])
  }
}
