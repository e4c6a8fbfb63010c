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
  }
  public let id: [UInt8]
  public let path: String
  public let state: State
  public let reason: String?
}

extension PatchOperation {
  /// Replaces the stubs by direct jumps, disarms functions that are back at their original, frees the slots and brings the
  /// patch list up to date. One more short world-stop; nothing that calls reach changes. After a revert it also finds out
  /// which containers nobody is in any more. Ends the session unless something is left to unload.
  public func settle() throws(CodedError) {
    let session = try openSession(.switched)
    let settler = Settler(runtime, transitions: transitions, universe: universe)
    try confirm(PULP_OP_ARMING, PULP_OP_SETTLING)
    let writes = try settler.settledWrites()
    let check = WorldCheck(runtime, places: places(), leaving: [])
    let unwinder = process.currentUnwinder()
    try session.setOperationState(PULP_OP_SETTLING)
    let world = try session.stopWorldAtRest(check, until: Deadline(afterMicroseconds: PatchOperation.stopLimit))
    var failure: CodedError?
    do throws(CodedError) {
      try confirm(PULP_OP_SETTLING)
      occupants = session.occupants(of: left + retired, unwinder)
      try writes.carryOut(runtime.memory)
    } catch { failure = error }
    let isLast = failure == nil && left.isEmpty && retired.isEmpty
    session.trace.resumeWorld(isLast ? .hold : .keep)
    settlePauseNanoseconds = Deadline.now - world.began
    if let failure { throw failure }
    do throws(CodedError) { try settler.finish(session) } catch {
      if isLast { session.trace.endHold(givingBack: false) }
      throw error
    }
    phase = .settled
    guard isLast else { return }
    session.trace.endHold(givingBack: true)
    self.session = nil
  }

  /// Disposes of the containers that a settled change left, and of those that had to stay earlier. Ends the session.
  public func unload(_ policy: UnloadPolicy = .automatic, timeout: UInt64 = 5_000_000) throws(CodedError) -> [UnloadOutcome] {
    if phase == .settled && session == nil { return [] }
    let session = try openSession(.settled)
    defer { self.session = nil }
    var outcomes: [UnloadOutcome] = []
    // Older blocks first: the last one of a container unloads it.
    for patch in retired.reversed() where occupants[patch.address] == nil {
      let isLeft = left.contains { $0.container == patch.container }
      guard patch.keepReason == nil || isLeft && policy == .always else { continue }
      let outcome = try PatchOperation.unload(patch, session, timeout: timeout)
      if outcome.state == .unloaded { outcomes.append(outcome) }
    }
    for patch in left {
      outcomes.append(try session.dispose(of: patch, policy, occupant: occupants[patch.address], timeout: timeout))
    }
    carrierNanoseconds = session.carrierNanoseconds
    return outcomes
  }

  static func unload(_ patch: LoadedPatch, _ session: ChangeSession, timeout: UInt64) throws(CodedError) -> UnloadOutcome {
    var found: ChangeSession.Answer?
    // The runtime unlinks and unmaps the patch's block: readers must not trust what they see meanwhile.
    try session.changingLists { () throws(CodedError) in
      found = try session.call(
        session.runtime.ext.unload, [patch.address], until: Deadline(afterMicroseconds: timeout), callee: .loading(guarded: true))
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
    let settler = Settler(runtime, transitions: transitions, universe: universe)
    try settler.withdraw(session, loaded: loaded, left: left)
    phase = .aborted
    try takeBackHarmlessWrites()
    var outcomes: [UnloadOutcome] = []
    // Nothing leads there yet, but a constructor may have started threads.
    let inhabited = plan.runsForeignCode ? try session.findOccupants(of: loaded) : [:]
    for patch in loaded {
      if let reason = inhabited[patch.address] {
        outcomes.append(UnloadOutcome(id: patch.id, path: patch.path, state: .retired, reason: reason))
      } else {
        outcomes.append(try PatchOperation.unload(patch, session, timeout: timeout))
      }
    }
    carrierNanoseconds = session.carrierNanoseconds
    process.refresh()
    return outcomes
  }
}
