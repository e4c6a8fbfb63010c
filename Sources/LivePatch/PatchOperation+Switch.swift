import CPulpABI
import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

public struct SwitchOptions: Sendable {
  public var consistency = Consistency.stack
  /// Longest allowed world-stop in microseconds; nil: as long as it takes, with a bound on waiting for a thread to stop.
  public var maxPause: UInt64?
  /// Settle in the same stop, where that takes next to no time and does not exceed `maxPause`.
  public var settles = false
  public init() {}
}

/// What one world-stop did.
public struct SwitchOutcome: Sendable {
  public let switched: Bool
  /// Empty when it switched.
  public let blockers: [Blocker]
  /// From the first request to stop to the last thread let go, tracer's clock.
  public let pauseNanoseconds: UInt64
  public let threadCount: Int
}

extension PatchOperation {
  /// A bound for waiting for one stop when no `maxPause` is given.
  static let stopLimit: UInt64 = 250_000

  /// Stops the world once and, when nobody is inside a function to be replaced, brings the operation into force with one
  /// 8-byte store, and settles it if that is wanted. Otherwise lets go and says who is in the way. Fails with
  /// `process.unstoppable`, `switch.max_pause`.
  public func performSwitch(_ options: SwitchOptions = SwitchOptions()) throws(CodedError) -> SwitchOutcome {
    let session = try openSession(.staged)
    session.maxPause = options.maxPause
    let check = try worldCheck()
    let writes = try arming()
    let unwinder = process.currentUnwinder()
    if !isRehearsed {
      process.rehearse(transitions.map { $0.entry + UInt64($0.point_offset) + 2 })
      isRehearsed = true
    }
    let deadline = Deadline(afterMicroseconds: options.maxPause ?? PatchOperation.stopLimit)
    let world = try stopWorld(session, deadline, options)
    var committed = false
    var failure: CodedError?
    var blockers: [Blocker] = []
    do throws(CodedError) {
      try confirm(PULP_OP_STAGED)
      blockers = try findBlockers(session, check, unwinder, options.consistency)
      if blockers.isEmpty {
        if options.maxPause != nil && deadline.hasPassed { throw tooLong(options) }
        try commit(session, writes)
        committed = true
      }
    } catch { failure = error }
    let isSettled = committed && options.settles && isShort(world, options) && settleStopped(session, unwinder)
    session.trace.resumeWorld(isSettled && isLastStep ? .hold : .keep)
    let pause = Deadline.now - world.began
    pauseNanoseconds = max(pauseNanoseconds, pause)
    if committed { phase = .switched }
    if let failure { throw failure }
    // A failure is not the switch's: `settle` meets it again.
    if isSettled { try? finishSettling(session) }
    return SwitchOutcome(switched: committed, blockers: blockers, pauseNanoseconds: pause, threadCount: world.threadCount)
  }

  /// Less than half of what the operator allows has passed.
  private func isShort(_ world: WorldStop, _ options: SwitchOptions) -> Bool {
    guard let maxPause = options.maxPause else { return true }
    return Deadline.now - world.began < maxPause &* 500
  }

  /// Within an operator's `maxPause`, a thread that does not stand in time is a pause that would be too long.
  private func stopWorld(_ session: ChangeSession, _ deadline: Deadline, _ options: SwitchOptions) throws(CodedError) -> WorldStop {
    do { return try session.stopWorld(until: deadline) } catch {
      guard error.code == .processUnstoppable, options.maxPause ?? .max < PatchOperation.stopLimit else { throw error }
      throw tooLong(options)
    }
  }

  private func findBlockers(
    _ session: ChangeSession, _ check: WorldCheck, _ unwinder: StackUnwinder, _ consistency: Consistency
  ) throws(CodedError) -> [Blocker] {
    try check.rewindAll(&session.trace)
    var blockers: [Blocker] = []
    for tid in session.trace.stoppedThreads {
      guard let registers = session.trace.registers(of: tid) else { continue }
      if runtime.callSite.isInside(registers) {
        blockers.append(Blocker(tid: tid, reason: .transient, frame: 0, address: registers.programCounter, callers: []))
      } else if let blocker = try check.blocker(tid, registers, unwinder, checksStack: consistency == .stack) {
        blockers.append(blocker)
      }
    }
    return blockers
  }

  /// The point of no return is the store of the universe: before it all is old, after it all is new. When something fails
  /// before it, the entries are as they were and the operation is only staged again.
  func commit(_ session: ChangeSession, _ writes: EntryWrites) throws(CodedError) {
    try writes.verify(runtime.memory)
    try session.setOperationState(PULP_OP_ARMING)
    do throws(CodedError) {
      try writes.writeAll(runtime.memory)
      try runtime.memory.store(universe, to: runtime.ext.universe)
    } catch {
      if writes.takeBack(runtime.memory) { try session.setOperationState(PULP_OP_STAGED) }
      throw error
    }
  }

  private func tooLong(_ options: SwitchOptions) -> CodedError {
    CodedError(
      .switchPause, "process \(process.pid): stopping and checking took longer than \(options.maxPause ?? 0) us; nothing was switched",
      data: ["pid": .integer(Int64(process.pid)), "max_pause_us": .integer(Int64(options.maxPause ?? 0))])
  }

  // MARK: - Prepared before the stop

  /// Armed entries are re-pointed to the new slot's stub; disarmed ones get their jump. Reading each entry again also
  /// brings its page in.
  private func arming() throws(CodedError) -> EntryWrites {
    var writes = EntryWrites()
    for transition in transitions {
      let entry = transition.entry
      let bytes = try runtime.memory.read(entry - UInt64(EntryForm.before), count: EntryForm.before + EntryForm.after)
      writes.expect(bytes, at: entry)
      switch EntryForm(bytes) {
      case .armed: writes.field(at: entry - 8, runtime.stub(transition.slot))
      case .prepared(let pointOffset, _, _):
        writes.point(at: entry + UInt64(pointOffset), EntryForm.jump(pointOffset: pointOffset))
        // The same byte again: makes our private copy of the page, so that the stop need not wait for it.
        try runtime.memory.writeText([bytes[EntryForm.before + Int(pointOffset)]], to: entry + UInt64(pointOffset))
      default:
        throw CodedError(
          .entryModified, "the entry at \(hex(entry)) of process \(process.pid) changed while the operation was staged",
          data: ["pid": .integer(Int64(process.pid)), "address": .integer(Int64(bitPattern: entry))])
      }
    }
    return writes
  }

  func worldCheck() throws(CodedError) -> WorldCheck {
    var pieces: [WorldCheck.Leaving] = []
    for transition in transitions { pieces += try leaving(by: transition) }
    return WorldCheck(runtime, places: places(), leaving: pieces)
  }

  /// Every entry that this runtime may have armed: threads can be in transit at any of them.
  func places() -> [WorldCheck.Place] {
    var offsets: [UInt64: UInt32] = [:]
    for patch in known { for unit in patch.units { offsets[unit.entry] = unit.pointOffset } }
    for transition in transitions { offsets[transition.entry] = transition.point_offset }
    return offsets.map { WorldCheck.Place(entry: $0.key, point: $0.key + UInt64($0.value)) }
  }

  /// The code that calls reached so far: the original, or an earlier replacement.
  private func leaving(by transition: pulp_transition) throws(CodedError) -> [WorldCheck.Leaving] {
    let original = transition.entry + UInt64(transition.point_offset) + 2
    let isOriginal = transition.old_target == original
    let planned = plan.applies.lazy.flatMap(\.units).first { $0.entry == transition.entry }?.size ?? 0
    let function = isOriginal ? transition.entry : transition.old_target
    return try process.code(ofFunctionAt: function, size: isOriginal ? planned : 0).map { WorldCheck.Leaving(code: $0, function: function) }
  }
}
