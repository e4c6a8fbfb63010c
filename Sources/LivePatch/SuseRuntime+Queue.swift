import Diagnostics
import ELF
import Inferior
import Tracing

/// What becomes of the writes that a call has left: they are made, or everything that the call has done is taken back.
extension SuseRuntime {
  /// Makes the writes, with every thread out of their way, and acknowledges.
  func execute(_ queue: InstructionQueue, _ trace: inout TraceSession) throws(CodedError) {
    for write in queue.writes {
      let last = write.address &+ UInt64(max(write.bytes.count, 1) - 1)
      guard let mapping = process.map.mapping(containing: write.address) ?? freshMapping(write.address), last >= write.address,
        mapping.range.contains(last) || process.map.mapping(containing: last) != nil
      else { throw corrupt("its instruction queue writes to \(hex(write.address)), where nothing is mapped") }
      if mapping.isExecutable { moveOut(of: write, &trace) }
    }
    for write in queue.writes { try memory.writeText(write.bytes, to: write.address) }
    if !queue.isEmpty { try acknowledgeQueue() }
  }

  /// What the call itself has mapped: the container, of which references are written.
  private func freshMapping(_ address: UInt64) -> Mapping? { MemoryMap(of: memory.thread).mapping(containing: address) }

  /// A thread between the bytes that are about to change: at the start of an old detour it goes back to the entry, between
  /// two one-byte nops it goes on behind them. Only r11 and the flags could be lost, which are dead at an entry.
  private func moveOut(of write: (address: UInt64, bytes: [UInt8]), _ trace: inout TraceSession) {
    let isDetour = write.bytes.starts(with: EntryForm.jumpSlot)
    let end = write.address + UInt64(write.bytes.count)
    let entry = isDetour ? write.address + UInt64(EntryForm.padding) : write.address
    trace.forEachStopped { _, registers in
      let pc = registers.programCounter
      guard registers.systemCall == nil, pc >= write.address, pc < end else { return false }
      if pc < entry {
        registers.programCounter = entry
      } else if pc == end - 1 {
        registers.programCounter = end
      } else {
        return false
      }
      return true
    }
  }

  /// Why the writes of a call that went well must not be made; nil when they are what was planned.
  ///
  /// The runtime looks for the library by a part of its path, so it may have found another one. And what it loaded is whatever
  /// was at the path just then: it compares nothing.
  func unexpected(_ queue: InstructionQueue, _ entries: [UInt64]?, _ input: [UInt8]) throws(CodedError) -> CodedError? {
    let map = MemoryMap(of: memory.thread)
    func isCode(_ address: UInt64) -> Bool { map.mapping(containing: address)?.isExecutable == true }
    func isPlanned(_ address: UInt64) -> Bool {
      entries?.contains { $0 &- address <= UInt64(EntryForm.padding) || address &- $0 <= 4 } ?? true
    }
    if let stray = queue.writes.first(where: { isCode($0.address) && !isPlanned($0.address) }) {
      return CodedError(
        .stageFailed, "SUSE's libpulp in process \(process.pid) was about to write to \(hex(stray.address)), which is no function of this change",
        hint: "it takes the first library whose path contains the target's name: rename what it confuses it with",
        data: ["pid": .integer(Int64(process.pid)), "address": .integer(Int64(bitPattern: stray.address))])
    }
    guard let path = SuseRuntime.path(in: input) else { return nil }
    process.refreshLoaded(rehearsing: nil)
    // The patch's id begins with the first 16 bytes of the container's build ID.
    let containers = try process.libraries().filter { library in
      guard let found = try? library.image.buildID() else { return false }
      return input[1...].starts(with: found.bytes.prefix(16))
    }
    // Whatever is no code is a reference, which lies in the container.
    func isInContainer(_ address: UInt64) -> Bool { containers.contains { $0.image.extent.contains(address) } }
    if !containers.isEmpty, SuseRuntime.detours(in: queue).allSatisfy(isCode),
      queue.writes.allSatisfy({ isCode($0.address) || isInContainer($0.address) })
    {
      return nil
    }
    return CodedError(
      .containerChanged, "process \(process.pid) loaded \(printable(path)), and that is not what was checked",
      data: ["pid": .integer(Int64(process.pid)), "path": .text(path)])
  }

  /// Where the detours of a queue lead.
  private static func detours(in queue: InstructionQueue) -> [UInt64] {
    var found: [UInt64] = []
    for write in queue.writes where write.bytes.count >= 14 && write.bytes.starts(with: EntryForm.jumpSlot) {
      var target: UInt64 = 0
      for byte in write.bytes[6..<14].reversed() { target = target << 8 | UInt64(byte) }
      found.append(target)
    }
    return found
  }

  /// After a call that failed half-way: none of its writes is made, its record leaves the list, and the runtime stays usable.
  ///
  /// What it remembers of the patch's functions would come into force with the revert of a later patch. So it is made to
  /// forget them by a revert of its own, of which no write is made either: the text is what it was.
  func takeBack(_ trace: inout TraceSession, _ caller: Caller, listSince head: UInt64) throws(CodedError) {
    let list = self["__ulp_state"] + 8
    let record = try memory.load(list, as: UInt64.self)
    try acknowledgeQueue()
    try clearError()
    guard record != head, record != 0 else { return }
    let id = try memory.read(record, count: 32)
    // The function that could not be diverted fails the revert as well, once: it goes on behind it when called again.
    var isForgotten = false
    for _ in 0..<16 where !isForgotten {
      guard let value = try? call(try callee(of: "__ulp_trigger"), SuseRuntime.revertBytes(id), &trace, caller.inNewTime) else { break }
      isForgotten = value == 0
      try acknowledgeQueue()
      try clearError()
    }
    if try memory.load(list, as: UInt64.self) == record { try memory.store(head, to: list) }
  }

  /// A failure that has been seen to, or a call that has come to its end.
  private func clearError() throws(CodedError) {
    if [256, 285, SuseRuntime.lateCall].contains(try errorState()) { try setErrorState(0) }
  }

  /// Metadata to revert a patch ("libpulp interface", 1.4): of path, build ID and library nothing is read.
  static func revertBytes(_ id: [UInt8]) -> [UInt8] {
    let path: [UInt8] = [2, 0, 0, 0, 0x2e, 0]
    let buildID: [UInt8] = [20, 0, 0, 0] + [UInt8](repeating: 0, count: 20)
    let library: [UInt8] = [1, 0, 0, 0, 0x2e]
    return [2] + id + path + buildID + library
  }

  /// Takes lost patches off the runtime's list by its own revert. Fails with `patch.lost`, before anything is called, where
  /// it would read the entries of a library that is not there any more: that would be the program's end.
  public func forget(where chosen: (LoadedPatch) -> Bool) throws(CodedError) -> [LostPatch] {
    let found = try inspectedJournal().lost.filter { chosen($0.patch) }
    for lost in found {
      for unit in lost.patch.units {
        switch try form(at: unit.entry) {
        case .prepared, .armed: continue
        default:
          throw CodedError(
            .patchLost, "\(printable(lost.patch.path)) is not in force in process \(process.pid) any more: \(lost.reason); SUSE's libpulp keeps it on its list",
            hint: "it cannot be made to forget what is not loaded; restart the program when you can",
            data: ["pid": .integer(Int64(process.pid)), "path": .text(lost.patch.path)])
        }
      }
    }
    for lost in found { _ = try enter("__ulp_trigger", SuseRuntime.revertBytes(lost.patch.id)) }
    return found
  }

  /// Unloads what the runtime loaded for a call that failed by the container's fault, as it would never do itself: loaded
  /// again it would be taken for ready, and its constructors would not run. Not with threads that the container has started.
  func unload(_ path: String?, unlessIn before: Set<UInt64>, _ trace: inout TraceSession, _ caller: Caller) throws(CodedError) -> Bool {
    process.refreshLoaded(rehearsing: nil)
    func loaded() throws(CodedError) -> LoadedLibrary? { try process.libraries().first { $0.path == path && !before.contains($0.bias) } }
    guard let container = try loaded() else { return true }
    guard let function = try process.symbol("dlclose"), try trace.stopNewcomers(until: caller.inNewTime.deadline).isEmpty else { return false }
    _ = try trace.bareCall(on: caller.carrier, caller.site, function: function, arguments: [container.handle], until: caller.inNewTime.deadline)
    process.refreshLoaded(rehearsing: nil)
    return try loaded() == nil
  }

  // MARK: - What a tool left

  public enum Settlement: String, Sendable { case none, finished, discarded }

  /// Makes or discards the writes of a call whose tool died before it had made them, or gave up waiting for it.
  public func settle(timeout: UInt64 = 5_000_000) throws(CodedError) -> (action: Settlement, writeCount: Int, text: String) {
    guard try isPending() else { return (.none, 0, "nothing was left") }
    var options = EnterOptions()
    options.timeout = timeout
    let outcome = try withStoppedWorld(options, quiet: true) { (trace, caller) throws(CodedError) in
      let queue = try self.queue()
      let state = try errorState()
      let list = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
      let (isApplying, isWhole) = try head(list, isIn: queue)
      let failed = state != 0 && state != 280 && !(state == 285 && isWhole)
      if failed && isApplying {
        try takeBack(&trace, caller, listSince: try memory.load(list &+ 56, as: UInt64.self))
        return (1, queue)
      }
      try execute(queue, &trace)
      try clearError()
      return (0, queue)
    }
    let writes = outcome.value == 0 ? outcome.writeCount : 0
    return outcome.value == 0
      ? (.finished, writes, "the \(writes) writes of its call were made")
      : (.discarded, 0, "its call had failed or came too late: what it left was discarded")
  }

  /// Whether the writes that wait are those that bring the newest patch into force, and whether all of them are there. Else
  /// they take a patch back.
  private func head(_ record: UInt64, isIn queue: InstructionQueue) throws(CodedError) -> (isApplying: Bool, isWhole: Bool) {
    guard record != 0, let patch = try appliedPatches().first else { return (false, true) }
    let leads = SuseRuntime.detours(in: queue)
    let isApplying = !leads.isEmpty && leads.allSatisfy { target in patch.units.contains { $0.replacement == target } }
    return (isApplying, !isApplying || patch.units.allSatisfy { leads.contains($0.replacement) })
  }
}
