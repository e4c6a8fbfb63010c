import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

/// What became of one container that went out of force.
public struct UnloadOutcome: Sendable {
  public enum State: String, Sendable {
    case unloaded
    /// Kept: a thread is still in it, or it cannot be proved that none is.
    case retired
    /// dlclose succeeded, and the loader keeps it all the same (thread-local destructors, NODELETE, unique symbols).
    case stillLoaded = "still_loaded"
    /// A thread is in it, and whoever asked wants to wait: nothing was done yet.
    case occupied
  }
  public let id: [UInt8]
  public let path: String
  public let state: State
  public let reason: String?
  /// The threads that are in it.
  public var blockers: [Blocker] = []
}

extension PatchOperation {
  /// Replaces the stubs by direct jumps, disarms functions that are back at their original, frees the slots and brings the
  /// patch list up to date. One more short world-stop, unless the switch's served for this, too; nothing that calls reach
  /// changes. After a revert it also finds out which containers nobody is in any more. Ends the session unless something is
  /// left to unload.
  ///
  /// The stop keeps the `maxPause` of the switch: fails with `switch.max_pause`, the change being in force, and may be
  /// called again. Nothing is left to do for an operation that is settled.
  public func settle() throws(CodedError) {
    if phase == .settled { return }
    let session = try openSession(.switched)
    try confirm(PULP_OP_ARMING, PULP_OP_SETTLING)
    let writes = try settler.settledWrites()
    let check = WorldCheck(runtime, places: places(), leaving: [])
    let unwinder = process.currentUnwinder()
    try session.setOperationState(PULP_OP_SETTLING)
    let world: WorldStop
    do throws(CodedError) {
      world = try session.stopWorldAtRest(check, unwinder, until: Deadline(afterMicroseconds: PatchOperation.stopLimit))
    } catch { throw session.pauseError(error, "the change is in force, and its detours stay longer ones") }
    var failure: CodedError?
    do throws(CodedError) {
      try confirm(PULP_OP_SETTLING)
      occupants = session.occupants(of: left + retired, unwinder)
      try session.checkPause(world, "the change is in force, and its detours stay longer ones")
      try writes.carryOut(runtime.memory)
    } catch { failure = error }
    session.trace.resumeWorld(failure == nil && isLastStep ? .hold : .keep)
    settlePauseNanoseconds = Deadline.now - world.began
    if let failure { throw failure }
    try finishSettling(session)
  }

  private var settler: Settler { Settler(runtime, transitions: transitions, universe: universe) }

  /// Nothing is left to unload: the session ends when the change is settled.
  var isLastStep: Bool { left.isEmpty && retired.isEmpty }

  /// The same in the stop of the switch, where the world has just been found at rest: a second stop would cost every thread
  /// once more what a stop costs. False when it is better done by itself: then nothing has happened, or `settle` does it again.
  func settleStopped(_ session: ChangeSession, _ unwinder: StackUnwinder) -> Bool {
    guard transitions.count <= PatchOperation.settledAtOnce else { return false }
    do throws(CodedError) {
      let writes = try settler.settledWrites()
      try session.setOperationState(PULP_OP_SETTLING)
      occupants = session.occupants(of: left + retired, unwinder)
      try writes.carryOut(runtime.memory)
      return true
    } catch {
      return false
    }
  }

  /// More functions than these are settled in a stop of their own, so that none gets too long.
  private static let settledAtOnce = 64

  /// After the world has gone on.
  func finishSettling(_ session: ChangeSession) throws(CodedError) {
    do throws(CodedError) { try settler.finish(session) } catch {
      if isLastStep { session.trace.endHold(givingBack: false) }
      throw error
    }
    phase = .settled
    guard isLastStep else { return }
    session.trace.endHold(givingBack: true)
    self.session = nil
  }

  /// Disposes of the containers that a settled change left, and of those that had to stay earlier. Ends the session, unless
  /// `waits` and a thread is in what is to be unloaded: then nothing is done, and asking again looks again.
  ///
  /// - Parameter maxCarrier: microseconds after which a destructor is forced to return.
  public func unload(
    _ policy: UnloadPolicy = .automatic, waits: Bool = false, maxCarrier: UInt64? = nil, timeout: UInt64 = 5_000_000
  ) throws(CodedError) -> [UnloadOutcome] {
    if phase == .settled && session == nil { return [] }
    let session = try openSession(.settled)
    session.maxCarrier = maxCarrier
    if waits {
      let inTheWay = try occupied(policy, session)
      if !inTheWay.isEmpty { return inTheWay }
    }
    defer { self.session = nil }
    var outcomes: [UnloadOutcome] = []
    // Older blocks first: the last one of a container unloads it.
    for patch in retired.reversed() where occupants[patch.address] == nil {
      let isLeft = left.contains { $0.container == patch.container }
      guard patch.keepReason == nil || isLeft && policy == .always else { continue }
      let outcome = try PatchOperation.unload(patch, session, timeout: timeout)
      if outcome.state == .unloaded { outcomes.append(outcome) }
    }
    for (index, patch) in left.enumerated() {
      session.isEnding = index == left.count - 1
      outcomes.append(try session.dispose(of: patch, policy, occupancy: occupants[patch.address], timeout: timeout))
    }
    carrierNanoseconds = session.carrierNanoseconds
    pauseNanoseconds = max(pauseNanoseconds, session.trace.borrowPause)
    return outcomes
  }

  /// Containers that would be unloaded if it were not for a thread. Who was there when the change was settled is known; from
  /// the second time on it takes a stop to see.
  private func occupied(_ policy: UnloadPolicy, _ session: ChangeSession) throws(CodedError) -> [UnloadOutcome] {
    let wanted = left.filter { policy == .always || policy == .automatic && $0.keepReason == nil }
    guard wanted.contains(where: { occupants[$0.address] != nil }) else { return [] }
    if hasWaited { occupants = try session.findOccupants(of: left + retired) }
    hasWaited = true
    return wanted.compactMap { patch in
      occupants[patch.address].map {
        UnloadOutcome(id: patch.id, path: patch.path, state: .occupied, reason: $0.reason, blockers: $0.blockers)
      }
    }
  }

  static func unload(
    _ patch: LoadedPatch, _ session: ChangeSession, timeout: UInt64
  ) throws(CodedError) -> UnloadOutcome {
    var found: ChangeSession.Answer?
    let isGuarded = patch.wasGuest && session.seccomp != .ignore
    if patch.wasGuest && !isGuarded { try session.unguard(patch) }
    // The runtime unlinks and unmaps the patch's block: readers must not trust what they see meanwhile.
    try session.changingLists { () throws(CodedError) in
      do throws(CodedError) {
        found = try session.call(
          session.runtime.ext.unload, [patch.address], until: Deadline(afterMicroseconds: timeout), maxCarrier: session.maxCarrier,
          callee: .unloading(patch.container), needs: isGuarded ? .guest : [])
      } catch { throw error.leavesLoaderLocked ? try quarantine(error, session) : error }
    }
    guard let answer = found else { throw session.runtime.corrupt("unload did not answer") }
    if let fault = answer.fault {
      return UnloadOutcome(id: patch.id, path: patch.path, state: .unloaded, reason: "a destructor failed: \(fault.message)")
    }
    let text = answer.text.isEmpty ? nil : printable(answer.text)
    switch UInt32(truncatingIfNeeded: answer.value) {
    case UInt32(PULP_OK.rawValue): return UnloadOutcome(id: patch.id, path: patch.path, state: .unloaded, reason: nil)
    case UInt32(PULP_STILL_LOADED.rawValue): return UnloadOutcome(id: patch.id, path: patch.path, state: .stillLoaded, reason: text)
    default: return UnloadOutcome(id: patch.id, path: patch.path, state: .retired, reason: text ?? "status \(answer.value)")
    }
  }

  /// Takes a staged operation back: marks, slots, paddings and containers. Nothing of it was ever in force. Fails with
  /// `operation.expired` when entries are armed, whose slots must stay: that is left to `recover`.
  public func abort(timeout: UInt64 = 5_000_000) throws(CodedError) -> [UnloadOutcome] {
    let session = try openSession(.staged)
    try confirm(PULP_OP_STAGED)
    defer { self.session = nil }
    // A switch that failed in the middle and could not take its writes back: entries may lead to the slots.
    let operation = try runtime.operation()
    guard operation.state == UInt32(PULP_OP_STAGED.rawValue) else { throw runtime.pending(operation) }
    try settler.withdraw(session, loaded: loaded, left: left)
    phase = .aborted
    try takeBackHarmlessWrites()
    var outcomes: [UnloadOutcome] = []
    // Nothing leads there yet, but a constructor may have started threads.
    let inhabited = plan.runsForeignCode ? try session.findOccupants(of: loaded) : [:]
    for patch in loaded { outcomes.append(try session.giveBackUnused(patch, inhabited[patch.address], timeout: timeout)) }
    carrierNanoseconds = session.carrierNanoseconds
    process.refresh()
    return outcomes
  }
}
