import CPulpABI
import Diagnostics
import Inferior
import Tracing

/// Brings entries and journal into agreement with the universe: the last step of every operation, and all of recovery.
///
/// Each entry is recomputed from the universe; each write is idempotent and neutral, so dying in the middle and doing it
/// again is harmless.
struct Settler {
  let runtime: PulpRuntime
  let transitions: [pulp_transition]
  /// The universe the operation leads, or has led, to.
  let universe: UInt64
  let isCommitted: Bool

  init(_ runtime: PulpRuntime, transitions: [pulp_transition], universe: UInt64, isCommitted: Bool = true) {
    self.runtime = runtime
    self.transitions = transitions
    self.universe = universe
    self.isCommitted = isCommitted
  }

  /// What calls are to reach: the universe has decided.
  private func target(_ transition: pulp_transition) -> UInt64 { isCommitted ? transition.new_target : transition.old_target }

  /// Direct jumps for what is replaced, `66 90` for what is back at its original.
  func settledWrites() throws(CodedError) -> EntryWrites {
    var writes = EntryWrites()
    // Of several for one entry the last decides: the others only name slots that earlier operations of SUSE's tool left.
    var deciding: [UInt64: Int] = [:]
    for (index, transition) in transitions.enumerated() { deciding[transition.entry] = index }
    for (index, transition) in transitions.enumerated() where deciding[transition.entry] == index {
      let entry = transition.entry
      // Nothing is there any more when the program has unloaded the library.
      guard let bytes = try runtime.process.readIfMapped(entry - UInt64(EntryForm.before), count: EntryForm.before + EntryForm.after),
        case .armed(let pointOffset, let current) = EntryForm(bytes) else { continue }
      writes.expect(bytes, at: entry)
      let wanted = target(transition)
      if wanted == entry + UInt64(pointOffset) + 2 {
        writes.point(at: entry + UInt64(pointOffset), EntryForm.disarmed)
      } else if current != wanted {
        writes.field(at: entry - 8, wanted)
      }
    }
    return writes
  }

  /// After the entries are settled and every thread has been rewound: slots are unreachable, the list can follow.
  func finish(_ session: ChangeSession) throws(CodedError) {
    try freeSlots()
    try session.changingLists { () throws(CodedError) in try listPatches() }
    try session.setOperationState(PULP_OP_IDLE)
  }

  /// Undoes marks and slots of an operation that never came into force. Marks first: a mark that stayed would come into
  /// force with the next operation's universe.
  func withdraw(_ session: ChangeSession, loaded: [LoadedPatch], left: [LoadedPatch]) throws(CodedError) {
    try session.changingLists { () throws(CodedError) in
      for patch in loaded { try store(UInt64.max, patch, \.applied_universe) }
      for patch in left { try store(UInt64(0), patch, \.reverted_universe) }
      try listPatches()
    }
    try freeSlots()
    try session.setOperationState(PULP_OP_IDLE)
  }

  private func store(_ value: UInt64, _ patch: LoadedPatch, _ field: PartialKeyPath<pulp_patch>) throws(CodedError) {
    try runtime.memory.store(value, to: patch.address + UInt64(MemoryLayout<pulp_patch>.offset(of: field)!))
  }

  /// Out of force from the universe on that is in force now, for a patch that no entry leads to any more.
  func writeOff(_ patch: LoadedPatch) throws(CodedError) {
    let flags = patch.flags | UInt32(PULP_PATCH_LOST.rawValue)
    try runtime.memory.store(flags, to: patch.address + UInt64(MemoryLayout<pulp_patch>.offset(of: \.flags)!))
    try store(universe, patch, \.reverted_universe)
    try listPatches()
  }

  private func freeSlots() throws(CodedError) {
    let size = MemoryLayout<pulp_slot>.stride
    let slots = transitions.map(\.slot).sorted()
    var index = 0
    while index < slots.count {
      var end = index + 1
      while end < slots.count && slots[end] == slots[end - 1] + 1 { end += 1 }
      try runtime.memory.write([UInt8](repeating: 0, count: (end - index) * size), to: runtime.slotAddress(slots[index]))
      index = end
    }
  }

  // MARK: - SUSE's list of applied patches

  /// Makes SUSE's list what the journal says: the patches in force, newest first (a record is its patch's first member).
  /// Only the pointers that differ are written, so doing it again changes nothing.
  private func listPatches() throws(CodedError) {
    let universe = try runtime.universe()
    var place = runtime.ext.state + UInt64(MemoryLayout<pulp_state>.offset(of: \.patches)!)
    let next = UInt64(MemoryLayout<pulp_record>.offset(of: \.next)!)
    for patch in try runtime.loadedPatches() where patch.isInForce(at: universe) {
      try point(place, at: patch.address)
      place = patch.address + next
    }
    try point(place, at: 0)
  }

  private func point(_ place: UInt64, at record: UInt64) throws(CodedError) {
    if try runtime.memory.load(place, as: UInt64.self) != record { try runtime.memory.store(record, to: place) }
  }
}
