import CLinux
import CPulpABI
import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

/// The target as it is before one step of the tool.
private struct Snapshot {
  let universe: UInt64
  let state: UInt32
  /// Per function.
  let forms: [EntryForm]
  /// Slots that the armed functions' paddings lead to.
  let slots: [pulp_slot?]
  let text: [[UInt8]]
  let isStopped: Bool
}

/// Looks at a target before every step: what an observer in the process, or a tool that takes over after our death, finds.
private final class Recorder {
  let target: Target
  let entries: [UInt64]
  private(set) var snapshots: [Snapshot] = []
  nonisolated(unsafe) static var current: Recorder?

  init(_ target: Target, entries: [UInt64]) {
    self.target = target
    self.entries = entries
  }

  func record(_ body: () throws -> Void) rethrows {
    Recorder.current = self
    look()
    ul_observe_steps { _ in Recorder.current?.look() }
    defer {
      ul_observe_steps(nil)
      Recorder.current = nil
      look()
    }
    try body()
  }

  private func look() {
    let runtime = target.runtime
    guard let universe = try? runtime.universe(), let operation = try? runtime.operation() else { return }
    let text = entries.map { (try? target.entryBytes($0)) ?? [] }
    let forms = text.map { EntryForm($0) }
    let slots = forms.map { form -> pulp_slot? in
      guard case .armed(_, let destination) = form, runtime.pool.contains(destination) else { return nil }
      let index = UInt32((destination - runtime.pool.lowerBound) / UInt64(PULP_STUB_SIZE))
      return try? runtime.memory.load(runtime.slotAddress(index), as: pulp_slot.self)
    }
    snapshots.append(
      Snapshot(
        universe: universe, state: operation.state, forms: forms, slots: slots, text: text,
        isStopped: target.states().allSatisfy { $0 == "t" }))
  }

  /// Where a call of function `index` ends at a snapshot, as its detour and the universe say; nil: in nothing that is safe.
  func destination(_ index: Int, _ snapshot: Snapshot) -> UInt64? {
    switch snapshot.forms[index] {
    case .prepared(let offset, _, _): return entries[index] + UInt64(offset) + 2
    case .armed(_, let destination):
      guard target.runtime.pool.contains(destination) else { return destination }
      guard let slot = snapshot.slots[index], slot.entry == entries[index], slot.new_target != 0, slot.old_target != 0 else { return nil }
      return snapshot.universe >= slot.since ? slot.new_target : slot.old_target
    default: return nil
    }
  }
}

/// Slots, paddings, entries, universe: the order in which one apply, one stacked apply and one revert of several functions of
/// several pages come into force, seen before every single step.
extension Live {
  @Suite(.serialized) struct OrderRule {
    private struct Setting {
      let target: Target
      let patch: Container
      let entries: [UInt64]

      init() throws {
        target = try Target("numserv")
        patch = try Targets.container("hundreds_200")
        entries = try #require(try target.plan([patch]).applies.first).units.prefix(12).map(\.entry)
      }
    }

    private func check(_ recorder: Recorder, before: UInt64, after: UInt64, sourceLocation: SourceLocation = #_sourceLocation) {
      let snapshots = recorder.snapshots
      #expect(snapshots.count > 10, sourceLocation: sourceLocation)
      let first = snapshots.first!
      let last = snapshots.last!
      #expect(first.universe == before && last.universe == after, sourceLocation: sourceLocation)
      for index in recorder.entries.indices {
        let old = recorder.destination(index, first)
        let new = recorder.destination(index, last)
        for (number, snapshot) in snapshots.enumerated() {
          // At every moment, in every function: the version that the universe says, and no way into nothing.
          let expected = snapshot.universe == before ? old : new
          #expect(recorder.destination(index, snapshot) == expected, "step \(number), function \(index)", sourceLocation: sourceLocation)
        }
      }
      // Entry bytes, and paddings that an armed entry leads to, change only while every thread stands.
      for (earlier, later) in zip(snapshots, snapshots.dropFirst()) {
        for index in recorder.entries.indices where earlier.forms[index] != later.forms[index] {
          switch (earlier.forms[index], later.forms[index]) {
          case (.prepared, .prepared): break  // the padding of a function that is not armed, and its merged nop
          default: #expect(earlier.isStopped && later.isStopped, "a live entry was rewritten", sourceLocation: sourceLocation)
          }
        }
        if earlier.universe != later.universe {
          #expect(earlier.isStopped, "the commit belongs into the stop of the check", sourceLocation: sourceLocation)
          #expect(earlier.state == UInt32(PULP_OP_ARMING.rawValue), sourceLocation: sourceLocation)
        }
        // The journal speaks before the first entry changes.
        if zip(earlier.forms, later.forms).contains(where: { if case .prepared = $0, case .armed = $1 { true } else { false } }) {
          #expect(earlier.state == UInt32(PULP_OP_ARMING.rawValue), sourceLocation: sourceLocation)
        }
      }
      #expect(last.state == UInt32(PULP_OP_IDLE.rawValue), sourceLocation: sourceLocation)
    }

    @Test func everyStepOfAnApplyAndARevertIsSafe() throws {
      let setting = try Setting()
      let apply = Recorder(setting.target, entries: setting.entries)
      try apply.record { try setting.target.change([setting.patch]) }
      check(apply, before: 1, after: 2)
      #expect(apply.snapshots.contains { $0.forms.contains { if case .armed = $0 { true } else { false } } && $0.universe == 1 })
      let revert = Recorder(setting.target, entries: setting.entries)
      try revert.record { try setting.target.change([], reverting: [setting.patch]) }
      check(revert, before: 2, after: 3)
    }

    @Test func everyStepOfAStackedApplyIsSafe() throws {
      let puppet = try Puppet(callers: 1)
      try puppet.target.change([puppet.second])
      let stacked = Recorder(puppet.target, entries: [puppet.entry])
      try stacked.record { try puppet.target.change([puppet.third]) }
      check(stacked, before: 2, after: 3)
      let middle = Recorder(puppet.target, entries: [puppet.entry])
      try middle.record { try puppet.target.change([], reverting: [puppet.second]) }
      check(middle, before: 3, after: 4)
      #expect(try puppet.target.ask("call") == "3", "a revert in the middle of the stack changes nothing that calls reach")
    }

    @Test func everyStepOfAnAbortIsSafe() throws {
      let setting = try Setting()
      let recorder = Recorder(setting.target, entries: setting.entries)
      try recorder.record {
        let operation = try setting.target.stage([setting.patch])
        _ = try operation.abort(timeout: patienceMicroseconds)
      }
      check(recorder, before: 1, after: 1)
      #expect(recorder.snapshots.first?.text == recorder.snapshots.last?.text)
    }
  }

  /// A write that the kernel refuses in the middle of arming.
  @Suite(.serialized) struct FailedCommit {
    private func stopped(_ operation: PatchOperation, _ body: (ChangeSession) throws -> Void) throws {
      let session = try #require(operation.session)
      _ = try session.stopWorld(until: .patient)
      defer { session.trace.resumeWorld() }
      try operation.worldCheck().rewindAll(&session.trace)
      try body(session)
    }

    @Test func whatWasArmedIsTakenBackInTheSameStop() throws {
      let puppet = try Puppet(callers: 1)
      let before = try puppet.target.entryBytes(puppet.entry)
      let operation = try puppet.target.stage([puppet.second])
      var writes = EntryWrites()
      writes.expect(try puppet.target.entryBytes(puppet.entry), at: puppet.entry)
      writes.point(at: puppet.point, EntryForm.jump(pointOffset: 0))
      // Sorted behind every entry; nothing is mapped there.
      writes.point(at: 0x7fff_ffff_0000, [0xeb, 0xf0])
      try stopped(operation) { session in
        #expect(failure { try operation.commit(session, writes) } == .memoryUnwritable)
      }
      #expect(try operation.runtime.universe() == 1)
      #expect(try puppet.pointBytes == EntryForm.disarmed)
      #expect(try operation.runtime.operation().state == UInt32(PULP_OP_STAGED.rawValue))
      // The operation can be switched after all, or dropped: nothing leads to its slots.
      operation.close()
      #expect(operation.phase == .aborted)
      #expect(try puppet.target.entryBytes(puppet.entry) == before)
      #expect(try puppet.target.ask("call") == "1")
      try puppet.target.change([puppet.second])
      #expect(try puppet.target.ask("call") == "2")
    }

    /// Slots of armed entries are not freed, whatever this object believes.
    @Test func anArmedOperationIsLeftToRecovery() throws {
      let puppet = try Puppet(callers: 1)
      var operation: PatchOperation? = try puppet.target.stage([puppet.second])
      try stopped(try #require(operation)) { session in
        try session.setOperationState(PULP_OP_ARMING)
        try puppet.target.process.memory.writeText(EntryForm.jump(pointOffset: 0), to: puppet.point)
      }
      #expect(failure { _ = try operation?.abort() } == .operationExpired)
      operation = nil
      #expect(try puppet.target.ask("call") == "1")
      #expect(puppet.target.isUnharmed)
      let outcome = try puppet.target.runtime.recover()
      #expect(outcome.found == .arming && outcome.action == .undone)
      #expect(try puppet.pointBytes == EntryForm.disarmed)
      try puppet.target.change([puppet.second])
      #expect(try puppet.target.ask("call") == "2")
    }
  }
}
