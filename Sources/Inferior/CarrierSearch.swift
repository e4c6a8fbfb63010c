import CLinux
import Diagnostics
import ELF
import Glibc
import Tracing

/// Why a thread cannot be borrowed just now, for the message when none can.
struct CarrierRefusal {
  let tid: pid_t
  let reason: String
}

extension TargetProcess {
  /// Stops a thread that can safely run a foreign function, and returns it stopped.
  ///
  /// Threads asleep in system calls are tried first. Each is looked at while stopped; one that may hold a lock of the
  /// allocator or the loader, has a signal waiting, or has no room on its stack goes on at once. Rounds are repeated with
  /// back-off (1 to 100 ms, 4 where only signals are in the way) until the deadline. Fails with `carrier.none`, naming the last reasons.
  ///
  /// `worldLimit`: longest world-stop, in microseconds, that may be used to come by a thread where more are busy than there are
  /// processors for; 0: none. The caller ends that stop with `resumeHeldWorld`, as soon as the call is over or cannot begin.
  public func borrowCarrier(
    _ session: inout TraceSession, site: CallSite, until deadline: Deadline, only wanted: pid_t? = nil, seccomp: SeccompPolicy = .check,
    needs: SeccompNeeds = [], worldLimit: UInt64 = 0
  ) throws(CodedError) -> pid_t {
    let search = CarrierSearch(process: self, site: site, hazards: try hazards(), unwinder: unwinder(), seccomp: seccomp, needs: needs)
    var pause: UInt64 = 1000
    var stops: [pid_t: Int] = [:]
    var refusals: [pid_t: CarrierRefusal] = [:]
    var worldStops = worldLimit > 0 && wanted == nil ? CarrierSearch.worldStops : 0
    while true {
      var patience = deadline
      if worldStops > 0 && search.isCrowded() {
        worldStops -= 1
        let limit = Deadline(afterMicroseconds: min(worldLimit, deadline.remainingMicroseconds))
        if let tid = try search.tryWorld(&session, until: limit) { return tid }
        // Its turn may be seconds away: rather another world-stop.
        if worldStops > 0 { patience = Deadline(afterMicroseconds: min(100_000, deadline.remainingMicroseconds)) }
      }
      let candidates = try search.candidates(wanted)
      // No candidate at all is no reason to give up: the only thread may be in vfork for a moment.
      var isExhausted = !candidates.isEmpty
      var longest: UInt64 = 4000
      for tid in candidates where stops[tid, default: 0] < CarrierSearch.stopLimit {
        isExhausted = false
        let isLasting = stops[tid, default: 0] >= CarrierSearch.handlerPatience
        guard let reason = try search.tryCarrier(&session, tid, until: patience, inHandler: isLasting) else { return tid }
        refusals[tid] = CarrierRefusal(tid: tid, reason: reason)
        // Signals come and go: soon again, and more often.
        if CarrierSearch.momentary.contains(reason) { stops[tid, default: 0] += 1 } else {
          stops[tid, default: 0] += 5
          longest = 100_000
        }
        if tid == session.rightHolder { session.resume(tid) } else { session.release(tid) }
        if patience.hasPassed { break }
      }
      if hasEnded { throw .gone(pid) }
      if deadline.hasPassed || isExhausted { throw search.noCarrier(refusals.values.sorted { $0.tid < $1.tid }) }
      // News of a seized thread cuts one sleep short, not the back-off.
      let wake = Deadline(afterMicroseconds: min(pause, deadline.remainingMicroseconds &+ 1))
      while !wake.hasPassed { ul_attend_sleep(UInt32(clamping: wake.remainingMicroseconds &+ 1)) }
      pause = min(pause * 2, longest)
    }
  }
}

/// One search: what it knows of the process, and the test of one thread.
struct CarrierSearch {
  let process: TargetProcess
  let site: CallSite
  let hazards: CarrierHazards
  let unwinder: StackUnwinder
  let seccomp: SeccompPolicy
  /// What the call takes besides.
  var needs: SeccompNeeds = []

  /// A thread is stopped at most this often in one operation when a signal is in the way, or a fifth as often.
  static let stopLimit = 100
  static let signalWaits = "a signal waits for it"
  static let isInHandler = "it is in a signal handler"
  /// After so many stops in a handler a thread is taken as it is. A server whose children are forked by a handler, and never
  /// return from it, has no other threads; what it interrupted is seen like any other frame.
  static let handlerPatience = 10
  static let dispatches = "its system calls go to a handler of its own (PR_SET_SYSCALL_USER_DISPATCH)"
  static let momentary: Set<String> = [signalWaits, isInHandler, dispatches]
  /// How many world-stops at most serve to come by one carrier.
  static let worldStops = 3
  /// How many threads, besides the holder of the right, are looked at while the world is stopped for a carrier.
  static let worldCandidates = 8
  /// What a call frame needs below the red zone: XSAVE image with AMX tiles, header, slack.
  static let stackRoom: UInt64 = 16384

  /// Threads that can be stopped at all, sleeping ones first; of these last the ones whose call says EINTR to a stop, until it is
  /// mended: should we die in between, the program sees it.
  func candidates(_ wanted: pid_t?) throws(CodedError) -> [pid_t] {
    if let wanted { return [wanted] }
    var sleeping: [pid_t] = []
    var lightly: [pid_t] = []
    var running: [pid_t] = []
    for tid in try ThreadList.all(of: process.pid) {
      switch ThreadList.state(of: tid, in: process.pid) {
      case UInt8(ascii: "S"):
        if ThreadList.isLightSleeper(tid, in: process.pid) { lightly.append(tid) } else { sleeping.append(tid) }
      case UInt8(ascii: "R"), UInt8(ascii: "t"): running.append(tid)
      default: break  // D cannot be stopped, Z and X have ended
      }
      if sleeping.count + lightly.count >= 64 { break }
    }
    return sleeping + lightly + running
  }

  /// Stops a thread and tests it. Nil: it is suitable and stays stopped. Otherwise the reason; the caller lets it go.
  ///
  /// `inHandler`: also one that handles a signal on its own stack.
  func tryCarrier(
    _ session: inout TraceSession, _ tid: pid_t, until deadline: Deadline, inHandler: Bool = false
  ) throws(CodedError) -> String? {
    do {
      try session.seize(tid)
      guard try session.stop(tid, until: deadline) else { return "it has ended" }
    } catch {
      if error.code == .processUnstoppable || error.code == .processGone { return error.message }
      if ThreadList.hasEnded(tid, in: process.pid) { return "it has ended" }
      if ThreadList.isKernelWorker(tid, in: process.pid) { return "it is a worker of the kernel" }
      throw error
    }
    guard let registers = session.registers(of: tid) else { return "it has ended" }
    if site.isInside(registers) { return "a call of an earlier ulpsh still runs in it" }
    if ul_has_pending_signal(tid) != 0, registers.systemCall != nil || !onlyBlockableSignals(tid) { return CarrierSearch.signalWaits }
    if dispatchesSystemCalls(tid) { return CarrierSearch.dispatches }
    if let reason = roomReason(tid, registers) { return reason }
    if let reason = stackReason(tid, registers, inHandler: inHandler) { return reason }
    return try seccompReason(tid)
  }

  /// Strict mode leaves nothing but read, write and exit, not even the way back out of a call: whoever ignores filters does
  /// not mean that. Suspended it still keeps the thread from reading the processor's clock (PR_TSC_SIGSEGV, prctl(2)), as the
  /// loader does. It is a thread's own affair; fails with `seccomp.strict` where no thread is without.
  private func seccompReason(_ tid: pid_t) throws(CodedError) -> String? {
    let check = SeccompCheck(pid: process.pid, tid: tid)
    do throws(CodedError) {
      // Without our runtime, nor a guest, a call has no other way back should its tool die.
      let needs = site.stack.isEmpty ? self.needs.union(.signalReturn) : self.needs
      if seccomp == .check { try check.run(needs) } else { try check.refuseStrict() }
      return nil
    } catch {
      let others = ThreadList.read(of: process.pid)
      guard error.code == .seccompStrict, others.contains(where: { (try? SeccompCheck(pid: process.pid, tid: $0).mode()) != 1 }) else { throw error }
      return error.message
    }
  }

  /// Whether many more threads than there are processors want one. A thread that is asked to stop alone, or woken for it, then
  /// first waits for its turn, tens of milliseconds; among threads that all stop the turns are short.
  func isCrowded() -> Bool {
    let threads = ThreadList.read(of: process.pid)
    let crowd = 4 * max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard threads.count > crowd else { return false }
    var running = 0
    for tid in threads.prefix(8 * crowd) where ThreadList.state(of: tid, in: process.pid) == UInt8(ascii: "R") {
      running += 1
      if running > crowd { return true }
    }
    return false
  }

  /// The first suitable thread of a world-stop, which goes on until `resumeHeldWorld`. Nil when there is none, or no such stop.
  func tryWorld(_ session: inout TraceSession, until deadline: Deadline) throws(CodedError) -> pid_t? {
    let world: WorldStop
    do { world = try session.stopWorld(until: deadline, urgently: true) } catch {
      if error.code == .processUnstoppable { return nil }
      throw error
    }
    var found: pid_t?
    do throws(CodedError) {
      // The holder of the right is seized anyway.
      let holder = session.rightHolder
      let others = session.stoppedThreads.filter { $0 != holder }
      for tid in [holder] + others.prefix(CarrierSearch.worldCandidates) where !deadline.hasPassed {
        if try tryCarrier(&session, tid, until: deadline) == nil {
          found = tid
          break
        }
      }
    } catch {
      session.resumeWorld()
      throw error
    }
    if found != nil { session.holdWorld(since: world.began, until: deadline) } else { session.resumeWorld() }
    return found
  }

  /// The first system call of a call would raise SIGSYS. The thread alone changes the byte that says so.
  private func dispatchesSystemCalls(_ tid: pid_t) -> Bool {
    var selector: UInt64 = 0
    guard ul_get_dispatch_selector(tid, &selector) != 0 else { return false }
    return (try? process.memory.load(selector, as: UInt8.self)) != 0
  }

  /// Whether what waits for a thread waits for the whole process, and is no fault. Outside of a system call, which a signal
  /// would end in a way of its own, such a signal can wait until the call is over, as one can that comes during it; under a
  /// fast timer on a busy machine there is always one.
  private func onlyBlockableSignals(_ tid: pid_t) -> Bool {
    guard let status = ProcFile.read("/proc/\(process.pid)/task/\(tid)/status", limit: 8192),
      let own = ProcFile.field("SigPnd", of: status).flatMap(ProcFile.hexadecimal),
      let shared = ProcFile.field("ShdPnd", of: status).flatMap(ProcFile.hexadecimal),
      let blocked = ProcFile.field("SigBlk", of: status).flatMap(ProcFile.hexadecimal)
    else { return false }
    return own & ~blocked == 0 && shared & ~blocked & ~maskDuringCall == 0
  }

  /// The frame is written below the stack pointer: there must be memory.
  private func roomReason(_ tid: pid_t, _ registers: Registers) -> String? {
    guard let stack = process.map.mapping(containing: registers.stackPointer) ?? refreshedStack(registers) else {
      return process.map.failure?.message ?? "its stack pointer points nowhere"
    }
    guard stack.isWritable else { return "its stack is not writable" }
    if !process.isOnOwnStack(tid, registers) {
      // Of unknown size: the runtime's stack takes the frame. Without the runtime there is no other place.
      return site.stack.isEmpty ? "it is on a stack that is not its own" : nil
    }
    // The main stack grows on demand; the kernel does not grow it for a write from outside.
    let room = registers.stackPointer - stack.range.lowerBound
    return room < CarrierSearch.stackRoom ? "its stack has only \(room) bytes left" : nil
  }

  /// A thread that started after the mappings were read.
  private func refreshedStack(_ registers: Registers) -> Mapping? {
    MemoryMap(of: process.memory.thread).mapping(containing: registers.stackPointer)
  }

  private func stackReason(_ tid: pid_t, _ registers: Registers, inHandler: Bool) -> String? {
    let trace = unwinder.unwind(tid, registers)
    if let reason = reason(tid, registers, trace, hazards.reason(at:)) { return reason }
    // A frame interrupted by a signal in the middle: the thread is in a handler, maybe on an alternate stack.
    guard trace.frames.dropFirst().contains(where: \.isActivation) else { return nil }
    // The kernel puts the next signal's frame on top of an alternate stack that the thread has left, over what is there.
    return inHandler && trace.isComplete && process.isOnOwnStack(tid, registers) ? nil : CarrierSearch.isInHandler
  }

  /// Whether a thread is, or may be, in code that holds locks of the allocator or the loader.
  func lockReason(_ tid: pid_t, _ registers: Registers) -> String? {
    // Most threads that are inside are in code that tells.
    if let reason = hazards.lock(at: registers.programCounter) { return "it is \(reason)" }
    var trace = unwinder.unwind(tid, registers)
    // A deep recursion, of which the words alone would say too much.
    if !trace.isComplete { trace = unwinder.unwind(tid, registers, limit: 1 << 14) }
    return reason(tid, registers, trace, hazards.lock(at:))
  }

  private func reason(_ tid: pid_t, _ registers: Registers, _ trace: StackTrace, _ hazard: (UInt64) -> String?) -> String? {
    // Without libdw there is not even a first frame.
    if let reason = hazard(registers.programCounter) { return "it is \(reason)" }
    // The C library's two frames and, inside of them, the function that a thread begins with.
    let start = trace.isComplete && tid != process.pid ? trace.frames.count - 3 : -1
    let waits = trace.isComplete && trace.frames.prefix(3).contains { hazards.isLongWait($0.lookupAddress) }
    for (index, frame) in trace.frames.enumerated() {
      guard let reason = hazard(frame.lookupAddress) else { continue }
      if index > 0 && index == start && CarrierHazards.isSanitizer(reason) { continue }
      if CarrierHazards.isEmbedding(reason) && waits { continue }
      return "it is \(reason)"
    }
    return trace.isComplete ? nil : scanReason(tid, registers, hazard)
  }

  /// Without a complete unwind every word of the rest of the stack that could be a return address counts as one.
  private func scanReason(_ tid: pid_t, _ registers: Registers, _ hazard: (UInt64) -> String?) -> String? {
    let end = process.stackEnd(tid, registers)
    switch process.memory.scanStack(from: registers.stackPointer, to: end, where: { hazard($0) != nil }) {
    case .word(let word): return hazard(word).map { "it may be \($0) (its stack cannot be unwound)" }
    case .tooDeep: return "its stack cannot be unwound, and is too deep to be searched"
    case nil: return nil
    }
  }

  func noCarrier(_ refusals: [CarrierRefusal]) -> CodedError {
    let reasons = refusals.prefix(8).map { "thread \($0.tid): \($0.reason)" }.joined(separator: "; ")
    return CodedError(
      .carrierNone, "no thread of process \(process.pid) could be borrowed" + (reasons.isEmpty ? "" : ": " + reasons),
      data: [
        "pid": .integer(Int64(process.pid)),
        "threads": .list(refusals.map { .record([.init("tid", .integer(Int64($0.tid))), .init("reason", .text($0.reason))]) }),
      ])
  }
}

extension TargetProcess {
  /// Whether a thread is on the stack that it was started with, of which it is known how far it reaches: the main thread's as
  /// the kernel names it, or the mapping that glibc made for a thread and put the thread's own data at the end of. Coroutines,
  /// alternate signal stacks and stacks inside of other memory are not.
  public func isOnOwnStack(_ tid: pid_t, _ registers: Registers) -> Bool {
    guard let stack = map.mapping(containing: registers.stackPointer) ?? MemoryMap(of: memory.thread).mapping(containing: registers.stackPointer)
    else { return false }
    if tid == pid || stack.path == "[stack]" { return tid == pid && stack.path == "[stack]" }
    return stack.range.contains(registers.threadPointer) && registers.stackPointer < registers.threadPointer
  }

  /// Where the stack of a thread ends at the latest, if it is the one that the thread was started with by glibc: the thread's own
  /// data lies above it, and other threads' stacks behind that. The kernel leaves a gap behind the main thread's.
  public func stackEnd(_ tid: pid_t, _ registers: Registers) -> UInt64? {
    tid != pid && isOnOwnStack(tid, registers) ? registers.threadPointer : nil
  }
}
