import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

/// What recovery found in a process and did about it.
public struct RecoveryOutcome {
  public enum Found: String, Sendable {
    /// Nothing was pending.
    case idle
    /// Loading had begun and its thread has gone.
    case staging
    case staged
    /// Some entries were armed, none of them with effect.
    case arming
    /// The commit had happened.
    case committed
    /// Some entries had been settled.
    case settling
    /// The journal is the copy of a forked child: somebody else's work.
    case copied
  }
  public enum Action: String, Sendable { case none, undone, finished, cleared }

  public let found: Found
  public let action: Action
  /// Containers that were given back.
  public let unloaded: [UnloadOutcome]
  /// The tool that had begun, as its PID was.
  public let tool: Int64
  public let pauseNanoseconds: UInt64
  /// Nil unless receipts are wanted.
  public let receipt: Receipt?

  /// What was done, for people.
  public var text: String {
    let done = switch action {
    case .none: "nothing was pending"
    case .undone: "it had not come into force and was undone"
    case .finished: "it had come into force and was finished"
    case .cleared: found == .copied ? "it was the parent process's, and was forgotten" : "what was left of it was cleared"
    }
    let gone = unloaded.filter { $0.state == .unloaded }.count
    return gone == 0 ? done : done + ", \(gone) container\(gone == 1 ? "" : "s") unloaded"
  }
}

extension PulpRuntime {
  /// Finds what an ulpsh that died left behind, and finishes or undoes it: the universe decides which. Fails with
  /// `call.busy` while the dead tool's container is still being loaded, and with `switch.max_pause`. Giving containers back
  /// takes a call, under the filters as `seccomp` says.
  public func recover(
    timeout: UInt64 = 5_000_000, seccomp: SeccompPolicy = .check, maxPause: UInt64? = nil, maxCarrier: UInt64? = nil
  ) throws(CodedError) -> RecoveryOutcome {
    let leftovers = try leftoverPatches(of: operation())
    let state = try operation().state
    let (universe, patches) = try journal()
    if state == UInt32(PULP_OP_IDLE.rawValue) && leftovers.isEmpty && unloadable(patches, at: universe).isEmpty,
      try !hasMemoryFiles()
    {
      return RecoveryOutcome(found: .idle, action: .none, unloaded: [], tool: 0, pauseNanoseconds: 0, receipt: nil)
    }
    do throws(CodedError) {
      let session = try ChangeSession(self)
      session.seccomp = seccomp
      session.maxPause = maxPause
      session.maxCarrier = maxCarrier
      return try Recovery(self, session, timeout: timeout).runAll()
    } catch { throw pauseError(error, maxPause, Recovery.untouched) }
  }

  /// Containers that were loaded and never came into force, of an operation that is over; without those that stay for good.
  func leftoverPatches(of operation: pulp_operation) throws(CodedError) -> [LoadedPatch] {
    try journal().patches.filter { $0.appliedUniverse == .max && $0.handle != 0 && $0.lastingReason == nil }
  }
}

private struct Recovery {
  static let untouched = "what a dead ulpsh has left stays for now"

  let runtime: PulpRuntime
  let session: ChangeSession
  let timeout: UInt64

  init(_ runtime: PulpRuntime, _ session: ChangeSession, timeout: UInt64) {
    self.runtime = runtime
    self.session = session
    self.timeout = timeout
  }

  /// And closes memory files that were not loaded from, once nobody is about to.
  func runAll() throws(CodedError) -> RecoveryOutcome {
    let outcome = try run()
    guard try runtime.hasMemoryFiles() else { return outcome }
    _ = try session.call(runtime.ext.memory_close, until: Deadline(afterMicroseconds: timeout))
    if outcome.action != .none { return outcome }
    return self.outcome(outcome.found, .cleared, try runtime.operation(), outcome.unloaded)
  }

  private func run() throws(CodedError) -> RecoveryOutcome {
    let operation = try runtime.operation()
    let isOurs = operation.owner_pid == runtime.process.identity.pid && operation.owner_start == runtime.process.identity.startTime
    switch operation.state {
    case UInt32(PULP_OP_IDLE.rawValue):
      let unloaded = try unloadLeftovers() + unloadRetired()
      return outcome(.idle, unloaded.isEmpty ? .none : .cleared, operation, unloaded)
    case UInt32(PULP_OP_STAGING.rawValue) where isOurs:
      try waitForCarrier(operation)
      return try afterStaging()
    case UInt32(PULP_OP_STAGING.rawValue):
      // A forked child: the loading thread does not exist here, and what it had half loaded must not be touched.
      try clear(operation)
      return outcome(.copied, .cleared, operation, [])
    default:
      return try settle(operation)
    }
  }

  private func outcome(
    _ found: RecoveryOutcome.Found, _ action: RecoveryOutcome.Action, _ operation: pulp_operation, _ unloaded: [UnloadOutcome], _ pause: UInt64 = 0
  ) -> RecoveryOutcome {
    RecoveryOutcome(found: found, action: action, unloaded: unloaded, tool: Int64(bitPattern: operation.tool_pid), pauseNanoseconds: pause,
      receipt: session.receipt)
  }

  /// The carrier goes on without its tool: give it time to come to the end of its call.
  private func waitForCarrier(_ operation: pulp_operation) throws(CodedError) {
    let deadline = Deadline(afterMicroseconds: timeout)
    let site = runtime.callSite
    while try runtime.operation().state == UInt32(PULP_OP_STAGING.rawValue) {
      let mailbox = try runtime.memory.load(site.mailbox, as: pulp_mailbox.self)
      let tid = pid_t(truncatingIfNeeded: mailbox.carrier)
      // A call that was left by force, or whose thread has ended, never comes back: clear what it began.
      let hasEnded = try !ThreadList.all(of: runtime.process.pid).contains(tid)
      if hasEnded || mailbox.state == UInt32(PULP_CALL_ABANDONED.rawValue) { return try clear(operation) }
      if deadline.hasPassed {
        throw CodedError(
          .callBusy, "the container of an earlier ulpsh is still being loaded in thread \(tid) of process \(runtime.process.pid)",
          data: ["pid": .integer(Int64(runtime.process.pid)), "tid": .integer(Int64(tid))])
      }
      usleep(1000)
    }
  }

  /// Forgets an operation whose staging never came to its end. A mark that stayed would come into force with the universe of
  /// the next operation.
  private func clear(_ operation: pulp_operation) throws(CodedError) {
    let patches = try runtime.loadedPatches()
    let current = try runtime.operation()
    let transitions = try runtime.transitions(of: current)
    let settler = Settler(runtime, transitions: transitions, universe: operation.universe, isCommitted: false)
    // Staged for SUSE's tool: entries may lead through slots of its operations before.
    if try settler.settledWrites().count > 0 { _ = try rewrite(settler, transitions, patches) }
    try settler.withdraw(
      session, loaded: patches.filter { $0.appliedUniverse == operation.universe },
      left: patches.filter { $0.revertedUniverse == operation.universe })
  }

  private func afterStaging() throws(CodedError) -> RecoveryOutcome {
    let operation = try runtime.operation()
    if operation.state == UInt32(PULP_OP_IDLE.rawValue) {
      return outcome(.staging, .undone, operation, try unloadLeftovers())
    }
    return try settle(operation)
  }

  /// Staged, arming, committed, settling: the universe tells which way to go.
  private func settle(_ operation: pulp_operation) throws(CodedError) -> RecoveryOutcome {
    let isCommitted = try runtime.universe() == operation.universe
    let patches = try runtime.loadedPatches()
    let loaded = patches.filter { $0.appliedUniverse == operation.universe }
    let left = patches.filter { $0.revertedUniverse == operation.universe }
    let transitions = try runtime.transitions(of: operation)
    let settler = Settler(runtime, transitions: transitions, universe: operation.universe, isCommitted: isCommitted)
    var pause: UInt64 = 0
    if operation.state != UInt32(PULP_OP_STAGED.rawValue) {
      pause = try rewrite(settler, transitions, patches)
    }
    if isCommitted {
      try settler.finish(session)
      let found: RecoveryOutcome.Found = operation.state == UInt32(PULP_OP_SETTLING.rawValue) ? .settling : .committed
      return outcome(found, .finished, operation, try unloadRetired(), pause)
    }
    try settler.withdraw(session, loaded: loaded, left: left)
    let found: RecoveryOutcome.Found = operation.state == UInt32(PULP_OP_STAGED.rawValue) ? .staged : .arming
    return outcome(found, .undone, operation, try unloadLeftovers(), pause)
  }

  private func rewrite(_ settler: Settler, _ transitions: [pulp_transition], _ patches: [LoadedPatch]) throws(CodedError) -> UInt64 {
    let writes = try settler.settledWrites()
    var places = patches.flatMap { patch in patch.units.map { WorldCheck.Place(entry: $0.entry, point: $0.entry + UInt64($0.pointOffset)) } }
    places += transitions.map { WorldCheck.Place(entry: $0.entry, point: $0.entry + UInt64($0.point_offset)) }
    let check = WorldCheck(runtime, places: places, leaving: [])
    let world = try session.stopWorldAtRest(check, runtime.process.currentUnwinder(), until: Deadline(afterMicroseconds: PatchOperation.stopLimit))
    var failure: CodedError?
    do throws(CodedError) {
      try session.checkPause(world, Recovery.untouched)
      try writes.carryOut(runtime.memory)
    } catch { failure = error }
    session.trace.resumeWorld()
    if let failure { throw failure }
    return Deadline.now - world.began
  }

  /// What a dead tool took out of force and did not come to unload.
  private func unloadRetired() throws(CodedError) -> [UnloadOutcome] {
    let universe = try runtime.universe()
    let wanted = runtime.unloadable(try runtime.loadedPatches(), at: universe).map(\.address)
    return try session.giveBack(timeout: timeout) { wanted.contains($0.address) }.map(\.outcome).filter { $0.state != .retired }
  }

  private func unloadLeftovers() throws(CodedError) -> [UnloadOutcome] {
    var outcomes: [UnloadOutcome] = []
    let leftovers = try runtime.leftoverPatches(of: runtime.operation())
    // A constructor may have started threads.
    let inhabited = try session.findOccupants(of: leftovers)
    for patch in leftovers { outcomes.append(try session.giveBackUnused(patch, inhabited[patch.address], timeout: timeout)) }
    return outcomes
  }
}
