import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

/// What is to become of containers that go out of force.
public enum UnloadPolicy: Sendable {
  /// Unloaded where nothing in them can still be used, else kept.
  case automatic
  /// Unloaded, whatever was decided when they were applied; not while a thread is in them.
  case always
  case never
}

extension LoadedPatch {
  /// Why it is not to be unloaded of itself.
  public var keepReason: KeepReason? { KeepReason(flags: flags) }
  public var isPinned: Bool { flags & UInt32(PULP_PATCH_PIN.rawValue) != 0 }
  public var wasLost: Bool { flags & UInt32(PULP_PATCH_LOST.rawValue) != 0 }

  /// Out of force for good, and still mapped or remembered.
  func isRetired(at universe: UInt64) -> Bool { revertedUniverse != 0 && revertedUniverse <= universe }
}

extension PulpRuntime {
  /// Containers that went out of force and could go: their tool died before it came to that, or a thread was in them.
  func unloadable(_ patches: [LoadedPatch], at universe: UInt64) -> [LoadedPatch] {
    patches.filter { $0.isRetired(at: universe) && $0.handle != 0 && $0.keepReason == nil }
  }
}

extension ChangeSession {
  /// Why containers cannot be unloaded: some stopped thread is in one, by precise unwinding. Address of the patch → reason.
  func occupants(of patches: [LoadedPatch], _ unwinder: StackUnwinder) -> [UInt64: String] {
    var reasons: [UInt64: String] = [:]
    guard !patches.isEmpty else { return reasons }
    for tid in trace.stoppedThreads {
      guard let registers = trace.registers(of: tid) else { continue }
      let stack = unwinder.unwind(tid, registers)
      for patch in patches where reasons[patch.address] == nil {
        if stack.frames.contains(where: { patch.container.contains($0.programCounter) }) {
          reasons[patch.address] = "thread \(tid) is in it"
        } else if !stack.isComplete {
          reasons[patch.address] = "the stack of thread \(tid) cannot be unwound"
        }
      }
    }
    return reasons
  }

  /// Unloads or retires containers that are out of force, with a world-stop of its own to see whether anybody is in them.
  func giveBack(
    timeout: UInt64, where chosen: (LoadedPatch) -> Bool
  ) throws(CodedError) -> [(address: UInt64, outcome: UnloadOutcome)] {
    let universe = try runtime.universe()
    let patches = try runtime.loadedPatches()
    let wanted = patches.filter { $0.isRetired(at: universe) && chosen($0) }
    guard !wanted.isEmpty else { return [] }
    let places = patches.flatMap { patch in patch.units.map { WorldCheck.Place(entry: $0.entry, point: $0.entry + UInt64($0.pointOffset)) } }
    let unwinder = process.currentUnwinder()
    _ = try stopWorldAtRest(WorldCheck(runtime, places: places, leaving: []), until: Deadline(afterMicroseconds: PatchOperation.stopLimit))
    let reasons = occupants(of: wanted, unwinder)
    trace.resumeWorld()
    var outcomes: [(address: UInt64, outcome: UnloadOutcome)] = []
    for patch in wanted {
      outcomes.append((patch.address, try dispose(of: patch, .automatic, occupant: reasons[patch.address], timeout: timeout)))
    }
    return outcomes
  }

  /// Unloads one container, or keeps it and says why. A kept one lets its pinned library go, and only one block remembers it.
  func dispose(
    of patch: LoadedPatch, _ policy: UnloadPolicy, occupant: String?, timeout: UInt64
  ) throws(CodedError) -> UnloadOutcome {
    var reason = occupant
    switch policy {
    case .automatic: reason = patch.keepReason?.text ?? occupant
    case .always: break
    case .never:
      reason = KeepReason.asked.text
      if patch.keepReason == nil { try keep(patch) }
    }
    guard let reason else { return try PatchOperation.unload(patch, self, timeout: timeout) }
    if patch.isPinned || patch.flags & UInt32(PULP_PATCH_WAS_LOADED.rawValue) != 0 {
      try changingLists { () throws(CodedError) in
        _ = try call(runtime.ext.retire, [patch.address], until: Deadline(afterMicroseconds: timeout))
      }
    }
    return UnloadOutcome(id: patch.id, path: patch.path, state: .retired, reason: reason)
  }

  /// Whoever changes the process next leaves the container alone, too.
  private func keep(_ patch: LoadedPatch) throws(CodedError) {
    let place = patch.address + UInt64(MemoryLayout<pulp_patch>.offset(of: \.flags)!)
    try process.memory.store(patch.flags | KeepReason.asked.flags, to: place)
  }
}
