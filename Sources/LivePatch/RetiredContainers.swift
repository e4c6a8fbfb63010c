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

/// Why a container cannot be unloaded just now: threads that are in it, or that cannot be shown not to be.
struct Occupancy {
  let reason: String
  var blockers: [Blocker]
}

extension ChangeSession {
  /// Who of the stopped threads is in containers, by precise unwinding. By the patch's address.
  func occupants(of patches: [LoadedPatch], _ unwinder: StackUnwinder) -> [UInt64: Occupancy] {
    var found: [UInt64: Occupancy] = [:]
    guard !patches.isEmpty else { return found }
    for tid in trace.stoppedThreads {
      guard let registers = trace.registers(of: tid) else { continue }
      let stack = unwinder.unwind(tid, registers)
      let callers = stack.frames.map(\.programCounter)
      for patch in patches {
        let index = stack.frames.firstIndex { patch.container.contains($0.programCounter) }
        guard index != nil || !stack.isComplete else { continue }
        let blocker = Blocker(
          tid: tid, reason: index == nil ? .incomplete : .inside, frame: index ?? -1,
          address: index.map { callers[$0] } ?? registers.programCounter, callers: callers)
        let reason = index == nil ? "the stack of thread \(tid) cannot be unwound" : "thread \(tid) is in it"
        found[patch.address, default: Occupancy(reason: reason, blockers: [])].blockers.append(blocker)
      }
    }
    return found
  }

  /// A container that never came into force, with what is known of the threads in it.
  func giveBackUnused(_ patch: LoadedPatch, _ occupancy: Occupancy?, timeout: UInt64) throws(CodedError) -> UnloadOutcome {
    guard let reason = occupancy?.reason ?? patch.lastingReason else { return try PatchOperation.unload(patch, self, timeout: timeout) }
    return UnloadOutcome(id: patch.id, path: patch.path, state: .retired, reason: reason, blockers: occupancy?.blockers ?? [])
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
    _ = try stopWorldAtRest(WorldCheck(runtime, places: places, leaving: []), unwinder, until: Deadline(afterMicroseconds: PatchOperation.stopLimit))
    let found = occupants(of: wanted, unwinder)
    trace.resumeWorld()
    var outcomes: [(address: UInt64, outcome: UnloadOutcome)] = []
    for patch in wanted {
      outcomes.append((patch.address, try dispose(of: patch, .automatic, occupancy: found[patch.address], timeout: timeout)))
    }
    return outcomes
  }

  /// Unloads one container, or keeps it and says why. A kept one lets its pinned library go, and only one block remembers it.
  func dispose(
    of patch: LoadedPatch, _ policy: UnloadPolicy, occupancy: Occupancy?, timeout: UInt64
  ) throws(CodedError) -> UnloadOutcome {
    var reason = occupancy?.reason
    switch policy {
    case .automatic: reason = patch.keepReason?.text ?? reason
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
    return UnloadOutcome(id: patch.id, path: patch.path, state: .retired, reason: reason, blockers: occupancy?.blockers ?? [])
  }

  /// Whoever changes the process next leaves the container alone, too.
  private func keep(_ patch: LoadedPatch) throws(CodedError) { try store(patch.flags | KeepReason.asked.flags, patch) }

  /// Nobody has looked whether the filters allow what the runtime does around code of a container: it is left out.
  func unguard(_ patch: LoadedPatch) throws(CodedError) { try store(patch.flags & ~UInt32(PULP_PATCH_GUEST.rawValue), patch) }

  private func store(_ flags: UInt32, _ patch: LoadedPatch) throws(CodedError) {
    try process.memory.store(flags, to: patch.address + UInt64(MemoryLayout<pulp_patch>.offset(of: \.flags)!))
  }
}
