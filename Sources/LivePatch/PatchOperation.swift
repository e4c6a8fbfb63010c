import CPulpABI
import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// How a switch treats threads that are inside functions to be replaced.
public enum Consistency: String, Sendable {
  /// Nobody may be inside: the threads are unwound in the same stop as the commit.
  case stack
  /// Switch at once: calls in progress finish in the old version beside new ones.
  case immediate
}

/// Limits of staging.
public struct StageOptions: Sendable {
  /// Time for the carrier to be found and the container to be loaded, microseconds.
  public var timeout: UInt64 = 5_000_000
  public var seccomp = SeccompPolicy.check
  /// Longest time a thread may be kept, microseconds: then constructors are forced to return and what was loaded is undone.
  public var maxCarrier: UInt64?
  /// Longest world-stop, microseconds; nil: as short as it can be.
  public var maxPause: UInt64?
  /// A call that is late is left alone; it finishes by itself, and the next operation undoes what it loaded.
  public var isPatient = false
  /// Only this thread may be borrowed.
  public var carrier: pid_t?
  public init() {}
}

/// An operation on one process, from `stage` to `settle` or `abort`: loaded but not in force, then in force, then tidy.
///
/// Dropping a staged operation undoes it. The steps are separate so that policy (retry, back-off, health checks) can be
/// written between them; each is all or nothing by itself.
public final class PatchOperation {
  public enum Phase: String, Sendable { case staged, switched, settled, aborted, closed }

  public let process: TargetProcess
  public let runtime: PulpRuntime
  public let plan: PatchPlan
  public internal(set) var phase = Phase.staged
  /// The universe this operation leads to.
  public let universe: UInt64
  /// What tells this operation from any other in the journal.
  let token: UInt64
  var session: ChangeSession?
  /// What the process was like before and after each step; nil unless receipts are wanted.
  public let receipt: Receipt?
  let transitions: [pulp_transition]
  /// Patches this operation loaded, and those it leaves.
  let loaded: [LoadedPatch]
  let left: [LoadedPatch]
  /// Patches left by earlier operations whose containers had to stay then: a thread was in one, or its stack could not be
  /// unwound for a moment. Each change tries the newest of them again, else they would pile up. Of those that are to be
  /// kept only other blocks of the containers that are left now.
  let retired: [LoadedPatch]
  /// Everything known when it was staged: whose entries may be in transit.
  let known: [LoadedPatch]
  /// Left containers that a thread was in when the operation was settled, by the address of the patch.
  var occupants: [UInt64: Occupancy] = [:]
  /// Whether `unload` has found somebody in them before.
  var hasWaited = false
  /// Whether the stop has been rehearsed: once is enough.
  var isRehearsed = false
  /// What staging wrote, to be written back by an abort.
  private var harmlessWrites: [HarmlessWrite] = []
  public internal(set) var carrierNanoseconds: UInt64 = 0
  /// The longest and the last world-stop, tracer's clock.
  public internal(set) var pauseNanoseconds: UInt64 = 0
  public internal(set) var settlePauseNanoseconds: UInt64 = 0

  init(
    _ session: ChangeSession, plan: PatchPlan, universe: UInt64, token: UInt64, transitions: [pulp_transition], loaded: [LoadedPatch],
    left: [LoadedPatch], known: [LoadedPatch]
  ) {
    self.session = session
    receipt = session.receipt
    process = session.process
    runtime = session.runtime
    self.plan = plan
    self.universe = universe
    self.token = token
    self.transitions = transitions
    self.loaded = loaded
    self.left = left
    retired = Array(known.filter { other in
      guard other.isRetired(at: universe - 1) else { return false }
      return other.keepReason == nil || left.contains { $0.container == other.container }
    }.prefix(16))
    self.known = known
    carrierNanoseconds = session.carrierNanoseconds
    pauseNanoseconds = session.trace.borrowPause
  }

  deinit { close() }

  /// Undoes a staged operation, finishes a switched one, ends the session. Harmless when repeated.
  public func close() {
    switch phase {
    case .staged: _ = try? abort()
    case .switched: _ = try? settle()
    default: break
    }
    session = nil
    if phase != .settled && phase != .aborted { phase = .closed }
  }

  func openSession(_ expected: Phase) throws(CodedError) -> ChangeSession {
    guard phase == expected, let session else {
      throw CodedError(
        .operationExpired, "the operation on process \(process.pid) is \(phase.rawValue), not \(expected.rawValue)",
        data: ["pid": .integer(Int64(process.pid)), "phase": .text(phase.rawValue)])
    }
    return session
  }

  /// The journal still holds this operation in one of `states`. Asked in every stop: the exclusive right goes with a thread
  /// that could not be stopped, and another tool may then have undone what was staged here.
  func confirm(_ states: pulp_operation_state...) throws(CodedError) {
    let operation = try runtime.operation()
    guard operation.token == token, states.contains(where: { UInt32($0.rawValue) == operation.state }) else {
      throw CodedError(
        .operationExpired, "the operation on process \(process.pid) was taken over by another tool",
        data: ["pid": .integer(Int64(process.pid)), "state": .integer(Int64(operation.state))])
    }
  }

  // MARK: - Stage

  /// Loads the plan's containers on a borrowed thread while the program runs, resolves everything, and prepares the
  /// entries, all without effect on what any call reaches. Fails with what the runtime or the loader says, undone.
  public static func stage(_ plan: PatchPlan, _ runtime: PulpRuntime, _ options: StageOptions = StageOptions()) throws(CodedError) -> PatchOperation {
    let session = try ChangeSession(runtime)
    session.seccomp = options.seccomp
    if let longest = options.maxPause { session.borrowLimit = min(session.borrowLimit, longest) }
    let deadline = Deadline(afterMicroseconds: options.timeout)
    try checkUnchanged(plan, runtime)
    try checkFiles(plan, runtime.process)
    // A call that an earlier ulpsh began may still read its request.
    try session.checkIdle()
    try session.writeOffLost(plan)
    let files = try session.deliver(plan, until: deadline, on: options.carrier)
    // What the stage did not come to.
    defer { if !files.isEmpty { session.closeMemoryFiles() } }
    let isGuarded = plan.runsForeignCode && options.seccomp != .ignore
    let request = try StageRequest(plan, token: Deadline.now, tool: getpid(), files: files, guest: isGuarded)
    try runtime.memory.write(request.bytes, to: runtime.ext.request)
    let answer: ChangeSession.Answer
    do {
      answer = try session.call(
        runtime.ext.stage, until: deadline, on: options.carrier, maxCarrier: options.maxCarrier,
        callee: .loading(guarded: plan.runsForeignCode, patient: options.isPatient), needs: (isGuarded ? SeccompNeeds.guest : []).union(plan.applies.contains(where: \.hasTextRelocations) ? .textRelocations : []))
    } catch { throw error.leavesLoaderLocked ? try quarantine(error, session) : error }
    if let fault = answer.fault { throw try rollBack(fault, session, plan, token: request.token) }
    guard answer.value == UInt64(PULP_OK.rawValue) else { throw stageError(answer, plan, runtime) }
    runtime.process.refreshLoaded(rehearsing: session.lastCarrier)
    let operation = try staged(session, plan, token: request.token)
    // From here on dropping the operation undoes it.
    if let longest = options.maxCarrier, answer.nanoseconds / 1000 > longest { throw try operation.giveUp(answer, longest) }
    try operation.checkLoadedFiles(files)
    try operation.prepareEntries()
    return operation
  }

  /// Loaded after all, but too late: the thread has been away longer than allowed, and giving back takes it once more.
  private func giveUp(_ answer: ChangeSession.Answer, _ longest: UInt64) throws(CodedError) -> CodedError {
    let kept = try abort()
    return CodedError(
      .stageCarrier,
      "process \(process.pid): \(loaded.isEmpty ? "staging" : "loading") kept thread \(answer.carrier) for \(answer.nanoseconds / 1000) us, "
        + "longer than \(longest) us; \(loaded.isEmpty ? "nothing was changed" : PatchOperation.unloadText(kept))",
      data: [
        "pid": .integer(Int64(process.pid)), "tid": .integer(Int64(answer.carrier)), "carrier_us": .integer(Int64(answer.nanoseconds / 1000)),
        "max_carrier_us": .integer(Int64(longest)),
      ])
  }

  private static func unloadText(_ outcomes: [UnloadOutcome]) -> String {
    guard let kept = outcomes.first(where: { $0.state != .unloaded }) else { return "it was unloaded again" }
    return "it could not be unloaded: \(kept.reason ?? kept.state.rawValue)"
  }

  /// A constructor misbehaved and was forced to return. What was loaded is given back; the program has not seen anything of it.
  private static func rollBack(
    _ fault: CodedError, _ session: ChangeSession, _ plan: PatchPlan, token: UInt64
  ) throws(CodedError) -> CodedError {
    session.process.refreshLoaded(rehearsing: nil)
    let raw = try session.runtime.operation()
    var outcomes: [UnloadOutcome] = []
    if raw.state == UInt32(PULP_OP_STAGED.rawValue), raw.token == token {
      do throws(CodedError) {
        outcomes = try staged(session, plan, token: token).abort()
      } catch {
        // The next change finds it and tries again.
        if error.code == .processGone { throw error }
        outcomes = [UnloadOutcome(id: [], path: "", state: .retired, reason: error.message)]
      }
    }
    var error = CodedError(
      fault.code, "process \(session.process.pid): a constructor of the container failed: \(fault.message); \(unloadText(outcomes))",
      hint: fault.specificHint ?? "the program is unharmed; look at the container's constructors")
    error.data = fault.data
    return error.with("unloaded", .flag(!outcomes.contains { $0.state != .unloaded }))
  }

  /// The carrier had to be taken out of the loader itself: the loader's lock stays with it, and another carrier would wait
  /// for that lock for ever. So this process is not touched again; its own threads go on.
  static func quarantine(_ fault: CodedError, _ session: ChangeSession) throws(CodedError) -> CodedError {
    try session.process.memory.store(Int32(PULP_EUNKNOWN.rawValue), to: session.runtime.ext.error_state)
    try session.setOperationState(PULP_OP_IDLE)
    var error = fault
    error.message += "; live patching is now switched off in the process"
    error.specificHint = "the program goes on, but its next dlopen may wait for ever: restart it when you can"
    return error
  }

  private static func checkUnchanged(_ plan: PatchPlan, _ runtime: PulpRuntime) throws(CodedError) {
    guard plan.identity == runtime.process.identity else {
      throw CodedError(.usage, "the plan was made for another process", data: ["pid": .integer(Int64(runtime.process.pid))])
    }
    let operation = try runtime.operation()
    guard operation.state == UInt32(PULP_OP_IDLE.rawValue) else { throw runtime.pending(operation) }
    let universe = try runtime.universe()
    guard universe == plan.universe else {
      throw CodedError(
        .operationExpired, "process \(plan.pid) was changed since the plan was made (universe \(universe), not \(plan.universe))",
        hint: "make the plan again", data: ["pid": .integer(Int64(plan.pid))])
    }
    for apply in plan.applies {
      for unit in apply.units {
        let count = EntryForm.before + EntryForm.after
        let bytes = try runtime.memory.read(unit.entry - UInt64(EntryForm.before), count: count)
        guard EntryForm(bytes) == unit.form else {
          throw CodedError(
            .entryModified, "\(printable(unit.oldName)) in process \(plan.pid) has changed since the plan was made",
            hint: "make the plan again", data: ["pid": .integer(Int64(plan.pid)), "symbol": .text(unit.oldName)])
        }
      }
    }
  }

  /// The containers' files are still as they were checked. What a writer has truncated would be a fault in the loader, with
  /// its lock held.
  private static func checkFiles(_ plan: PatchPlan, _ process: TargetProcess, isLoaded: Bool = false) throws(CodedError) {
    // What is in a sealed memory file is what was checked, whatever becomes of its source.
    for apply in plan.applies where !(isLoaded && apply.delivery == .memory) {
      let path = apply.contents == nil ? process.visiblePath(apply.targetPath) : apply.path
      if try FileStamp.current(path) == apply.file, apply.contents?.file.bytes.isUnchanged ?? true { continue }
      throw CodedError(
        .containerChanged, "\(printable(apply.path)) was changed since the plan for process \(plan.pid) was made",
        data: ["pid": .integer(Int64(plan.pid)), "path": .text(apply.path)])
    }
  }

  private static func staged(_ session: ChangeSession, _ plan: PatchPlan, token: UInt64) throws(CodedError) -> PatchOperation {
    let runtime = session.runtime
    let raw = try runtime.operation()
    guard raw.state == UInt32(PULP_OP_STAGED.rawValue), raw.token == token, raw.universe == plan.universe + 1 else {
      throw runtime.corrupt("its operation is not the one that was staged")
    }
    let patches = try runtime.loadedPatches()
    return PatchOperation(
      session, plan: plan, universe: raw.universe, token: token, transitions: try runtime.transitions(of: raw),
      loaded: patches.filter { $0.appliedUniverse == raw.universe }, left: patches.filter { $0.revertedUniverse == raw.universe },
      known: patches)
  }

  /// What the loader mapped must be the file that was opened and checked.
  private func checkLoadedFiles(_ files: [Int: MemoryFile]) throws(CodedError) {
    try PatchOperation.checkFiles(plan, process, isLoaded: true)
    for (index, apply) in plan.applies.enumerated() {
      let identity = files[index]?.identity ?? apply.file?.identity
      guard let patch = loaded.first(where: { $0.id == apply.id.bytes }) else { throw runtime.corrupt("a staged container is missing") }
      func changed(_ text: String) -> CodedError {
        CodedError(
          .containerChanged, "process \(process.pid) \(text) \(printable(apply.path)) that was checked",
          data: ["pid": .integer(Int64(process.pid)), "path": .text(apply.path)])
      }
      guard let home = try process.readableMap().mapping(containing: patch.container.lowerBound), let identity,
        home.shows(identity, at: process.visiblePath(apply.targetPath))
      else { throw changed("loaded another file than") }
      // A constructor may have taken code away that calls are to reach.
      let isMapped = patch.units.allSatisfy { unit in
        let place = process.map.mapping(containing: unit.replacement)
        return place?.isExecutable == true && place?.device == home.device && place?.inode == home.inode
      }
      guard isMapped else { throw changed("has no longer mapped all code of") }
    }
  }

  /// Writes what has no effect yet: paddings that no armed entry leads to, and one-byte nops merged into a two-byte one.
  private func prepareEntries() throws(CodedError) {
    for transition in transitions {
      let entry = transition.entry
      let start = entry - UInt64(EntryForm.before)
      let bytes = try runtime.memory.read(start, count: EntryForm.before + EntryForm.after)
      guard case .prepared(let pointOffset, let mergesNops, _) = EntryForm(bytes) else { continue }
      let padding = entry - UInt64(EntryForm.padding)
      let paddingStart = EntryForm.before - EntryForm.padding
      let written = EntryForm.paddingBytes(target: runtime.stub(transition.slot))
      let point = mergesNops ? entry + UInt64(pointOffset) : nil
      harmlessWrites.append(
        HarmlessWrite(padding: padding, before: Array(bytes[paddingStart..<EntryForm.before]), written: written, mergedPoint: point))
      try runtime.memory.writeText(written, to: padding)
      if let point { try runtime.memory.writeText([EntryForm.mergedNop], to: point) }
    }
  }

  /// Puts back what staging wrote, where it still is: the program may have unloaded the library, and other code be there now.
  func takeBackHarmlessWrites() throws(CodedError) {
    for write in harmlessWrites.reversed() {
      guard try process.readIfMapped(write.padding, count: write.written.count) == write.written else { continue }
      if let point = write.mergedPoint { try runtime.memory.writeText([0x90], to: point) }
      try runtime.memory.writeText(write.before, to: write.padding)
    }
  }
}

/// A padding that was written while its entry was not armed, and the point where two nops were merged into one.
private struct HarmlessWrite {
  let padding: UInt64
  let before, written: [UInt8]
  let mergedPoint: UInt64?
}

extension CodedError {
  /// The call did not come back through the loader.
  var leavesLoaderLocked: Bool { code == .callFault || code == .callLost || code == .callEscaped }
}

extension PulpRuntime {
  func pending(_ operation: pulp_operation) -> CodedError {
    CodedError(
      .operationPending,
      "process \(process.pid) has an unfinished operation of \(operation.tool_pid == 0 ? "SUSE's ulp" : "ulpsh (process \(operation.tool_pid))")",
      data: ["pid": .integer(Int64(process.pid)), "state": .integer(Int64(operation.state)), "tool": .integer(Int64(bitPattern: operation.tool_pid))])
  }
}

/// What a refusal of the runtime's stage function means.
private func stageError(_ answer: ChangeSession.Answer, _ plan: PatchPlan, _ runtime: PulpRuntime) -> CodedError {
  let pid = runtime.process.pid
  let text = printable(answer.text.split(separator: "\n").joined(separator: "; "))
  let data: KeyValuePairs<String, DiagnosticValue> = [
    "pid": .integer(Int64(pid)), "status": .integer(Int64(bitPattern: answer.value)), "detail": .text(text),
  ]
  let names = plan.applies.map { printable($0.path) }.joined(separator: ", ")
  switch UInt32(truncatingIfNeeded: answer.value) {
  case UInt32(PULP_EDLOPEN.rawValue):
    return CodedError(.stageFailed, "process \(pid) could not load \(names): \(text)", data: data)
  case UInt32(PULP_EBUILDID.rawValue):
    return CodedError(.containerChanged, "process \(pid): \(names): the build ID differs after loading: \(text)", data: data)
  case UInt32(PULP_ENONEWFUNC.rawValue), UInt32(PULP_ENOREFERENCE.rawValue):
    return CodedError(.stageSymbols, "process \(pid): \(names) does not export \(text)", data: data)
  case UInt32(PULP_EPOOLFULL.rawValue):
    return CodedError(.poolFull, "the pool of stubs in process \(pid) is full", data: data)
  case UInt32(PULP_ENOTAPPLIED.rawValue):
    return CodedError(.patchNotApplied, "process \(pid): \(text)", data: data)
  case UInt32(PULP_EDEPEND.rawValue):
    return CodedError(.patchDependency, "process \(pid): \(text)", hint: "revert that one first, or both together", data: data)
  case UInt32(PULP_EUSRBLOCKED.rawValue):
    return CodedError(.runtimeDisabled, "live patching is switched off in process \(pid)", data: data)
  case UInt32(PULP_ESTATE.rawValue):
    return CodedError(.operationPending, "process \(pid): \(text)", data: data)
  default:
    return CodedError(.stageFailed, "process \(pid) refused to stage \(names): status \(answer.value): \(text)", data: data)
  }
}
