import CPulpABI
import Diagnostics
import ELF
import Inferior
import Tracing

/// A patch that the journal calls applied and that cannot be: the program has unloaded its target library, or has loaded it
/// again, with its original code.
public struct LostPatch: Sendable {
  public let patch: LoadedPatch
  public let reason: String
}

extension PulpRuntime {
  /// The journal with the patches that are lost. A revert that another tool commits in between disarms entries as well, so
  /// what looks lost counts only in the universe it was read in.
  public func inspectedJournal() throws(CodedError) -> (universe: UInt64, patches: [LoadedPatch], lost: [LostPatch]) {
    var attempts = 0
    while true {
      let (universe, patches) = try journal()
      let found = try lost(among: patches, at: universe)
      attempts += 1
      if found.isEmpty || attempts > 20 { return (universe, patches, found) }
      if try self.universe() == universe { return (universe, patches, found) }
    }
  }

  /// Those of the patches in force whose library went away. Only patches of which no function is diverted any more: where
  /// some are, code still leads into the container, and that is damage (`check` says so), not loss.
  ///
  /// Fails with `memory.unreadable` and the like: what cannot be read is not lost.
  public func lost(among patches: [LoadedPatch], at universe: UInt64) throws(CodedError) -> [LostPatch] {
    let applied = patches.filter { $0.isInForce(at: universe) && !$0.units.isEmpty }
    var found: [LostPatch] = []
    for patch in applied {
      let isReplaced = applied.contains { $0.targetBias == patch.targetBias && $0.targetBuildID != patch.targetBuildID && $0.appliedUniverse > patch.appliedUniverse }
      let isDiverted = try isDiverted(patch)
      if isReplaced || !isDiverted { found.append(LostPatch(patch: patch, reason: try reason(patch))) }
    }
    return found
  }

  private func reason(_ patch: LoadedPatch) throws(CodedError) -> String {
    let name = printable(patch.libraryName)
    guard let library = try? process.libraries().first(where: { $0.bias == patch.targetBias && $0.answers(to: patch.libraryName) }) else {
      return "\(name) was unloaded"
    }
    // Staging has written into the padding, which no library comes with: it is the same mapping.
    if let entry = patch.units.first?.entry, case .prepared(_, _, true) = try form(at: entry) { return "its detours were taken away" }
    if let found = try? library.image.buildID(), found.bytes != patch.targetBuildID { return "another build of \(name) was loaded in its place" }
    return "\(name) was unloaded and loaded again"
  }

  /// Takes lost patches out of the journal's account and gives their containers back. Nothing that calls reach changes: no
  /// entry leads to them. `chosen` says which. Fails with `operation.pending` while another change is unfinished.
  public func forgetLost(
    timeout: UInt64 = 5_000_000, seccomp: SeccompPolicy = .check, where chosen: (LoadedPatch) -> Bool
  ) throws(CodedError) -> [(lost: LostPatch, outcome: UnloadOutcome)] {
    process.refreshIfOld()
    guard try inspectedJournal().lost.contains(where: { chosen($0.patch) }) else { return [] }
    let session = try ChangeSession(self)
    session.seccomp = seccomp
    let operation = try self.operation()
    guard operation.state == UInt32(PULP_OP_IDLE.rawValue) else { throw pending(operation) }
    let found = try session.writeOff(where: chosen)
    let ids = found.map(\.patch.address)
    let outcomes = try session.giveBack(timeout: timeout) { ids.contains($0.address) }
    return found.map { lost in
      let outcome = outcomes.first { $0.address == lost.patch.address }
      return (lost, outcome?.outcome ?? UnloadOutcome(id: lost.patch.id, path: lost.patch.path, state: .retired, reason: nil))
    }
  }
}

extension LivePatchRuntime {
  /// Whether calls of any of its functions are led elsewhere.
  func isDiverted(_ patch: LoadedPatch) throws(CodedError) -> Bool {
    for unit in patch.units {
      if case .armed = try form(at: unit.entry) { return true }
    }
    return false
  }

  /// Nil when nothing is mapped there. Fails with `memory.unreadable` and the like.
  func form(at entry: UInt64) throws(CodedError) -> EntryForm? {
    try process.readIfMapped(entry &- UInt64(EntryForm.before), count: EntryForm.before + EntryForm.after).map { EntryForm($0) }
  }
}

extension ChangeSession {
  /// What the plan found lost and is in the way of what it applies.
  func writeOffLost(_ plan: PatchPlan) throws(CodedError) {
    guard !plan.lost.isEmpty else { return }
    let addresses = plan.lost.map(\.patch.address)
    _ = try writeOff { addresses.contains($0.address) }
  }

  /// Marks lost patches as out of force from the current universe on and takes them off SUSE's list. The process's right is
  /// held, so nobody arms an entry meanwhile.
  func writeOff(where chosen: (LoadedPatch) -> Bool) throws(CodedError) -> [LostPatch] {
    process.refreshIfOld()
    let universe = try runtime.universe()
    let found = try runtime.lost(among: try runtime.loadedPatches(), at: universe).filter { chosen($0.patch) }
    guard !found.isEmpty else { return [] }
    let settler = Settler(runtime, transitions: [], universe: universe)
    try changingLists { () throws(CodedError) in
      for lost in found { try settler.writeOff(lost.patch) }
    }
    return found
  }
}
