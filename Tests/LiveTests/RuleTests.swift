import CLinux
import CPulpABI
import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

/// The rules for arming and disarming that keep running threads alive. Each test fails when its rule is taken out.
extension Live {
  @Suite(.serialized) struct RewindRule {
    @Test(arguments: entryForms) func aThreadBetweenTheNopsIsPutBack(form: String) throws {
      let puppet = try Puppet(form)
      let operation = try puppet.target.stage([puppet.second])
      try puppet.stand(at: puppet.point + 1, in: operation)
      #expect(try operation.performSwitch(.patient).switched)
      #expect(try puppet.landing() == 2)
      try operation.patientSettle()
      #expect(puppet.target.isUnharmed)
    }

    /// The same with the function called afterwards by a direct jump, and with the very entry and the point itself.
    @Test(arguments: entryForms) func aThreadAtTheEntryHasNotBegun(form: String) throws {
      let puppet = try Puppet(form)
      let operation = try puppet.target.stage([puppet.second])
      for place in Set([puppet.entry, puppet.point]) {
        try puppet.stand(at: place, in: operation)
        if operation.phase == .staged { #expect(try operation.performSwitch(.patient).switched) } else { try operation.patientSettle() }
        #expect(try puppet.landing() == 2)
        if operation.phase == .settled { break }
      }
    }

    /// A padding keeps naming a slot that is freed, or a container that is unloaded, after a revert.
    @Test(arguments: entryForms) func aThreadInThePaddingIsPutBackBeforeASettle(form: String) throws {
      let puppet = try Puppet(form)
      try puppet.target.change([puppet.second])
      let operation = try puppet.target.stage([], reverting: [puppet.second])
      #expect(try operation.performSwitch(.patient).switched)
      try puppet.stand(at: puppet.padding, in: operation)
      try operation.patientSettle()
      #expect(try puppet.landing() == 1)
      #expect(try operation.unload(timeout: patienceMicroseconds).map(\.state) == [.unloaded])
      #expect(try puppet.target.ask("call") == "1")
    }

    @Test func aThreadInThePaddingIsPutBackBeforeASwitch() throws {
      let puppet = try Puppet()
      try puppet.target.change([puppet.second])
      let operation = try puppet.target.stage([puppet.third])
      try puppet.stand(at: puppet.padding, in: operation)
      #expect(try operation.performSwitch(.patient).switched)
      #expect(try puppet.landing() == 3)
      try operation.patientSettle()
    }

    /// Freed slots are all zero: a stub left running would jump to 0.
    @Test(arguments: stubInstructions) func aThreadInAStubIsPutBackBeforeASettle(instruction: UInt64) throws {
      let puppet = try Puppet()
      let operation = try puppet.target.stage([puppet.second])
      #expect(try operation.performSwitch(.patient).switched)
      try puppet.stand(at: operation.runtime.stub(operation.transitions[0].slot) + instruction, in: operation)
      try operation.patientSettle()
      #expect(try puppet.landing() == 2)
      #expect(puppet.target.isUnharmed)
    }

    /// A thread that had decided for the old version when the world stopped decides again.
    @Test(arguments: stubInstructions) func aThreadInAStubDecidesAgainAtASwitch(instruction: UInt64) throws {
      let puppet = try Puppet()
      let operation = try puppet.target.stage([puppet.second])
      try puppet.stand(at: operation.runtime.stub(operation.transitions[0].slot) + instruction, in: operation)
      #expect(try operation.performSwitch(.patient).switched)
      #expect(try puppet.landing() == 2)
      try operation.patientSettle()
    }

    /// The entry, not the stub's start: an older stub would select by its own, older slot.
    @Test func anOldStubIsLeftForTheEntry() throws {
      let puppet = try Puppet()
      let first = try puppet.target.stage([puppet.second])
      #expect(try first.performSwitch(.patient).switched)
      try first.patientSettle()
      // Slot 0 again names the function, selects the original for every universe, and no entry leads to it.
      let stale = pulp_slot(since: .max, new_target: puppet.point + 2, old_target: puppet.point + 2, entry: puppet.entry)
      try puppet.target.process.memory.store(stale, to: first.runtime.slotAddress(7000))
      let operation = try puppet.target.stage([puppet.third])
      try puppet.stand(at: operation.runtime.stub(7000), in: operation)
      #expect(try operation.performSwitch(.patient).switched)
      #expect(try puppet.landing() == 3)
      try operation.patientSettle()
    }
  }

  /// A pc saved in a signal frame cannot be changed: the world is let go and met again.
  @Suite(.serialized) struct SignalFrameRule {
    enum Place: String, CaseIterable { case betweenNops, padding, stub }

    @Test(arguments: Place.allCases, ["number", "number_endbr"]) func aSwitchWaitsForTheHandler(place: Place, form: String) throws {
      let puppet = try Puppet(form)
      if place == .padding { try puppet.target.change([puppet.third]) }
      let operation = try puppet.target.stage([puppet.second])
      let address = switch place {
      case .betweenNops: puppet.point + 1
      case .padding: puppet.padding
      case .stub: operation.runtime.stub(operation.transitions[0].slot) + 41
      }
      try puppet.stand(at: address, in: operation)
      try puppet.interrupt(in: operation)
      for consistency in [Consistency.stack, .immediate] {
        var options = SwitchOptions()
        options.consistency = consistency
        let outcome = try operation.performSwitch(options)
        #expect(!outcome.switched)
        let blocker = try #require(outcome.blockers.first)
        #expect(outcome.blockers.count == 1 && blocker.reason == .transient && blocker.tid == puppet.tid)
        #expect(blocker.frame > 0 && blocker.address == address)
      }
      #expect(try operation.runtime.universe() == operation.universe - 1)
      try puppet.release()
      #expect([1, 3].contains(try puppet.landing()), "it went on in the version that was in force")
      try puppet.target.insistentSwitch(operation)
      #expect(try puppet.target.ask("call") == "2")
      try operation.patientSettle()
    }

    @Test(arguments: Place.allCases) func aSettleWaitsForTheHandler(place: Place) throws {
      let puppet = try Puppet()
      try puppet.target.change([puppet.second])
      let operation = try puppet.target.stage([], reverting: [puppet.second])
      #expect(try operation.performSwitch(.patient).switched)
      let address = switch place {
      case .betweenNops: puppet.point + 1
      case .padding: puppet.padding
      case .stub: operation.runtime.stub(operation.transitions[0].slot) + 35
      }
      // Within an armed jump nothing is executed: only a handler that was entered before the arming could return there.
      if place == .betweenNops { return }
      try puppet.stand(at: address, in: operation)
      try puppet.interrupt(in: operation)
      #expect(failure { try operation.settle() } == .patchBlocked)
      #expect(operation.phase == .switched)
      #expect(try puppet.form == .armed(pointOffset: 0, target: operation.runtime.stub(operation.transitions[0].slot)))
      try puppet.release()
      #expect(try puppet.landing() == 1)
      try operation.patientSettle()
      #expect(try puppet.pointBytes == [0x66, 0x90])
      #expect(try operation.unload(timeout: patienceMicroseconds).map(\.state) == [.unloaded])
      #expect(try puppet.target.ask("call") == "1")
    }
  }

  @Suite(.serialized) struct UnwindRule {
    /// A padding has no unwind information. A thread that is first put back to the entry can be unwound to its root, so words
    /// that only look like return addresses do not matter.
    @Test func threadsAreUnwoundAfterRewinding() throws {
      let puppet = try Puppet()
      try puppet.target.change([puppet.second])
      let operation = try puppet.target.stage([puppet.third])
      let leaving = try #require(try operation.worldCheck().leaving.first)
      try puppet.stand(at: puppet.padding, in: operation, above: [leaving.code.lowerBound + 1])
      let outcome = try operation.performSwitch(.patient)
      #expect(outcome.switched && outcome.blockers.isEmpty)
      #expect(try puppet.landing() == 3)
      try operation.patientSettle()
    }

    /// And a real caller inside the function is seen through the stub, which has unwind information of its own.
    @Test func aCallerIsSeenThroughTheDetour() throws {
      let puppet = try Puppet()
      try puppet.target.change([puppet.second])
      let operation = try puppet.target.stage([puppet.third])
      let leaving = try #require(try operation.worldCheck().leaving.first)
      let landing = try puppet.target.address("landing_return")
      for place in [puppet.padding, operation.runtime.stub(operation.transitions[0].slot) + 11] {
        // number_2 is `mov $2, %eax; ret`: the second frame returns to the root.
        try puppet.stand(at: place, in: operation, above: [landing], returnTo: leaving.code.lowerBound + 5)
        let outcome = try operation.performSwitch(.patient)
        #expect(!outcome.switched)
        #expect(outcome.blockers.first?.reason == .inside && outcome.blockers.first?.frame == 1)
        #expect(try puppet.landing() == 2)
      }
      try puppet.target.insistentSwitch(operation)
      try operation.patientSettle()
    }
  }

  @Suite(.serialized) struct MergedNopRule {
    @Test(arguments: entryForms) func stagingMergesOneByteNops(form: String) throws {
      let puppet = try Puppet(form)
      let before = try puppet.target.entryBytes(puppet.entry)
      let operation = try puppet.target.stage([puppet.second])
      let after = try puppet.target.entryBytes(puppet.entry)
      #expect(try puppet.pointBytes == [0x66, 0x90])
      let changed = before.indices.filter { before[$0] != after[$0] }
      let first = EntryForm.before - EntryForm.padding
      var allowed = Set(first..<EntryForm.before)
      if form != "number_two_byte" { allowed.insert(EntryForm.before + Int(puppet.pointOffset)) }
      #expect(Set(changed).isSubset(of: allowed))
      #expect(Array(after[first..<EntryForm.before]) == EntryForm.paddingBytes(target: operation.runtime.stub(operation.transitions[0].slot)))
      #expect(try puppet.target.ask("call") == "1")
      // Nothing was ever armed, so nobody can be in the padding: taking it back leaves the file's bytes.
      _ = try operation.abort(timeout: patienceMicroseconds)
      #expect(try puppet.target.entryBytes(puppet.entry) == before)
    }

    @Test func callersDoNotNotice() throws {
      let puppet = try Puppet(callers: 2)
      var calls = 0
      for round in 0..<2000 where round < 30 || calls <= 1000 {
        let operation = try puppet.target.stage([puppet.second])
        _ = try operation.abort(timeout: patienceMicroseconds)
        guard round >= 29 else { continue }
        let counts = try puppet.target.ask("report").split(separator: " ").compactMap { Int($0) }
        #expect(counts[1...] == [0, 0, 0])
        calls += counts[0]
      }
      #expect(calls > 1000)
    }
  }

  @Suite(.serialized) struct SlotRule {
    private func slot(_ operation: PatchOperation, _ index: UInt32) throws -> pulp_slot {
      try operation.runtime.memory.load(operation.runtime.slotAddress(index), as: pulp_slot.self)
    }

    /// A second transition cannot begin before the first is settled, by any way.
    @Test func aReachableSlotIsNotTakenAgain() throws {
      let puppet = try Puppet()
      let first = try puppet.target.stage([puppet.second])
      #expect(try first.performSwitch(.patient).switched)
      first.session = nil  // as if the tool had died here
      #expect(failure { _ = try puppet.target.stage([puppet.third]) } == .operationPending)
      // The runtime says so by itself.
      let session = try ChangeSession(puppet.target.runtime)
      let status = try session.call(first.runtime.ext.stage, until: .patient)
      #expect(status.value == UInt64(PULP_ESTATE.rawValue))
    }

    @Test func aTransitionTakesASlotThatNothingReaches() throws {
      let puppet = try Puppet()
      let first = try puppet.target.stage([puppet.second])
      let used = first.transitions[0].slot
      #expect(try first.performSwitch(.patient).switched)
      #expect(try slot(first, used).entry == puppet.entry)
      // Somebody's slot is in use: the next free one is taken.
      let other = used + 1
      try first.runtime.memory.store(pulp_slot(since: 1, new_target: 1, old_target: 1, entry: 1), to: first.runtime.slotAddress(other))
      try first.patientSettle()
      #expect(try slot(first, used).entry == 0 && slot(first, used).since == 0, "given back after a stop")
      #expect(try slot(first, other).entry == 1)
      try first.runtime.memory.store(pulp_slot(since: 1, new_target: 1, old_target: 1, entry: 1), to: first.runtime.slotAddress(used))
      let second = try puppet.target.stage([puppet.third])
      #expect(second.transitions[0].slot == other + 1)
      _ = try second.abort()
    }

    @Test func aSlotIsFullBeforeItsEntryIsArmedAndNeverChanges() throws {
      let puppet = try Puppet()
      let operation = try puppet.target.stage([puppet.second])
      let index = operation.transitions[0].slot
      let staged = try slot(operation, index)
      #expect(staged.since == operation.universe && staged.entry == puppet.entry && staged.old_target == puppet.point + 2)
      #expect(try operation.performSwitch(.patient).switched)
      let armed = try slot(operation, index)
      #expect(armed.since == staged.since && armed.new_target == staged.new_target && armed.old_target == staged.old_target)
      try operation.patientSettle()
    }
  }

  @Suite(.serialized) struct DisarmRule {
    @Test(arguments: entryForms) func aRevertedFunctionKeepsItsPaddingAndItsMergedNop(form: String) throws {
      let puppet = try Puppet(form)
      try puppet.target.change([puppet.second])
      let armed = try puppet.target.process.memory.read(puppet.padding, count: 14)
      #expect(armed.prefix(6) == [0xff, 0x25, 0, 0, 0, 0])
      try puppet.target.change([], reverting: [puppet.second])
      #expect(try puppet.pointBytes == EntryForm.disarmed)
      #expect(try puppet.target.process.memory.read(puppet.padding, count: 6) == [0xff, 0x25, 0, 0, 0, 0])
      #expect(try puppet.form == .prepared(pointOffset: puppet.pointOffset, mergesNops: false, paddingIsWritten: true))
      #expect(try puppet.target.ask("call") == "1")
      // And once more, from a padding that is written.
      try puppet.target.change([puppet.third])
      #expect(try puppet.target.ask("call") == "3")
      try puppet.target.change([], reverting: [puppet.third])
      #expect(try puppet.target.ask("call") == "1")
    }

    /// A padding that was once armed is not restored by taking a staged operation back.
    @Test func anAbortLeavesAWrittenPaddingWritten() throws {
      let puppet = try Puppet()
      try puppet.target.change([puppet.second])
      try puppet.target.change([], reverting: [puppet.second])
      let operation = try puppet.target.stage([puppet.third])
      _ = try operation.abort(timeout: patienceMicroseconds)
      #expect(try puppet.target.process.memory.read(puppet.padding, count: 6) == [0xff, 0x25, 0, 0, 0, 0])
      #expect(try puppet.pointBytes == EntryForm.disarmed)
    }
  }
}
