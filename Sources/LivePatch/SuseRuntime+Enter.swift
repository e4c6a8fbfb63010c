import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// How one of SUSE's entry points is called.
public struct EnterOptions: Sendable {
  /// Microseconds until the world goes on, whatever the call does.
  public var timeout: UInt64 = 5_000_000
  /// Code in which no thread may be; empty: nobody looks.
  public var leaving: [Range<UInt64>] = []
  public var seccomp = SeccompPolicy.check
  public init() {}
}

/// What one call of an entry point did.
public struct EnterOutcome: Sendable {
  /// What the entry returned in rax; nil when threads were in the way and nothing was called.
  public let value: UInt64?
  public let blockers: [Blocker]
  /// Texts of the queue.
  public let prints: [String]
  public let writeCount: Int
  /// How long the world stood still.
  public let pauseNanoseconds: UInt64
}

/// SUSE's tool diverts the main thread into an entry point that ends in `int3`: when the tool dies, so does the process. Here
/// the routine behind the entry is called instead (`90 90 e8 rel32 cc`), on any thread that is safe to borrow, and it
/// returns through a signal frame: registers, vector state and signal mask come back without us.
///
/// As with SUSE's tool the world stands still meanwhile. The runtime answers EAGAIN when it is entered while the allocator is
/// in use, and disables itself for good when the loader's lock is contended; with every thread found outside of both, it
/// never gets to see that.
extension SuseRuntime {
  public func enter(_ name: String, _ input: [UInt8], _ options: EnterOptions = EnterOptions()) throws(CodedError) -> EnterOutcome {
    guard SuseRuntime.entries.contains(name) else {
      throw CodedError(.usage, "libpulp has no entry point \(printable(name))")
    }
    guard input.count < SuseRuntime.metadataSize else {
      throw CodedError(.containerMalformed, "\(input.count) bytes of metadata are more than SUSE's runtime takes (\(SuseRuntime.metadataSize - 1))")
    }
    let callee = try self.callee(of: name)
    let site = try process.bareCallSite()
    return try withQuietWorld(options) { (trace, carrier, deadline) throws(CodedError) in
      try memory.write(input, to: self["__ulp_metadata_buffer"])
      let before = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
      let value: UInt64
      try process.applySeccomp(options.seccomp, to: carrier, &trace, site: nil)
      do throws(CodedError) {
        value = try trace.bareCall(on: carrier, site, function: callee, arguments: [], until: deadline)
      } catch {
        // Taken out of the middle of the loader: its locks stay taken.
        if error.code == .callFault { try memory.store(Int32(256), to: self["__ulp_error_state"]) }
        throw error
      }
      let queue = try self.queue()
      if value == 0 || queue.isEmpty {
        try execute(queue, &trace)
      } else {
        try discard(queue, listSince: before)
      }
      return (value, queue)
    }
  }

  /// Finishes or discards what a tool left that died between a call and its queue. Returns how many writes were made; nil when
  /// there was nothing.
  public func settleQueue(timeout: UInt64 = 5_000_000) throws(CodedError) -> Int? {
    if try queue().isEmpty { return nil }
    var options = EnterOptions()
    options.timeout = timeout
    let outcome = try withQuietWorld(options) { (trace, _, _) throws(CodedError) in
      let queue = try self.queue()
      if try errorState() == 0 {
        try execute(queue, &trace)
        return (0, queue)
      }
      // The last call failed half-way. Its record heads the list, although not all of its functions are in the queue.
      let head = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
      let next = head == 0 ? 0 : try memory.load(head &+ 56, as: UInt64.self)
      try discard(queue, listSince: next)
      return (1, queue)
    }
    return outcome.value == 0 ? outcome.writeCount : 0
  }

  // MARK: - The call's surroundings

  /// The routine behind an entry, out of its `call`.
  private func callee(of name: String) throws(CodedError) -> UInt64 {
    let entry = self[name]
    let bytes = try memory.read(entry, count: 8)
    guard bytes[0] == 0x90, bytes[1] == 0x90, bytes[2] == 0xe8, bytes[7] == 0xcc else {
      throw CodedError(
        .runtimeForeign, "\(name) in process \(process.pid) does not look like an entry of libpulp",
        data: ["pid": .integer(Int64(process.pid)), "address": .integer(Int64(bitPattern: entry))])
    }
    let distance = Int64(Int32(truncatingIfNeeded: UInt32(bytes[3]) | UInt32(bytes[4]) << 8 | UInt32(bytes[5]) << 16 | UInt32(bytes[6]) << 24))
    let address = entry &+ 7 &+ UInt64(bitPattern: distance)
    guard library.image.textRanges.contains(where: { $0.contains(address) }) else { throw corrupt("\(name) leads out of it") }
    return address
  }

  /// Runs `body` with every thread stopped, none of them in the allocator, the loader or in `leaving`, and a carrier chosen.
  private func withQuietWorld(
    _ options: EnterOptions,
    _ body: (inout TraceSession, pid_t, Deadline) throws(CodedError) -> (UInt64, InstructionQueue)
  ) throws(CodedError) -> EnterOutcome {
    try process.checkTraceable()
    let deadline = Deadline(afterMicroseconds: options.timeout)
    // Whatever can be read or loaded beforehand, is: the world waits for none of it.
    let unwinder = process.currentUnwinder()
    try process.prepareForQuiet()
    var trace = try TraceSession(memory)
    var began = Deadline.now
    do throws(CodedError) {
      let world = try trace.stopWorld(until: Deadline(afterMicroseconds: min(options.timeout, PatchOperation.stopLimit)), urgently: true)
      began = world.began
      let stopped = trace.stoppedThreads.compactMap { tid in trace.registers(of: tid).map { (tid, $0) } }
      try process.checkNoneHolds(stopped)
      let blockers = stopped.compactMap { blocker($0.0, $0.1, unwinder, options.leaving) }
      guard blockers.isEmpty else {
        trace.end()
        return EnterOutcome(value: nil, blockers: blockers, prints: [], writeCount: 0, pauseNanoseconds: Deadline.now - began)
      }
      let carrier = try process.chooseCarrier(&trace, among: stopped.map(\.0), until: deadline, seccomp: options.seccomp)
      let (value, queue) = try body(&trace, carrier, deadline)
      trace.resumeWorld()
      let pause = Deadline.now - began
      trace.end()
      return EnterOutcome(
        value: value, blockers: [], prints: queue.instructions.compactMap { if case .print(let text) = $0 { text } else { nil } },
        writeCount: queue.writes.count, pauseNanoseconds: pause)
    } catch {
      trace.resumeWorld()
      trace.end()
      throw error
    }
  }

  private func blocker(_ tid: pid_t, _ registers: Registers, _ unwinder: StackUnwinder, _ leaving: [Range<UInt64>]) -> Blocker? {
    if leaving.isEmpty { return nil }
    let trace = unwinder.unwind(tid, registers)
    let callers = trace.frames.map(\.programCounter)
    for (index, frame) in trace.frames.enumerated() where leaving.contains(where: { $0.contains(frame.lookupAddress) }) {
      return Blocker(tid: tid, reason: .inside, frame: index, address: frame.programCounter, callers: callers)
    }
    guard !trace.isComplete else { return nil }
    let word = memory.firstWord(from: registers.stackPointer) { word in leaving.contains { $0.contains(word) } }
    return word.map { Blocker(tid: tid, reason: .incomplete, frame: -1, address: $0, callers: callers) }
  }

  // MARK: - The queue

  /// Makes the writes, with every thread out of their way, and acknowledges.
  private func execute(_ queue: InstructionQueue, _ trace: inout TraceSession) throws(CodedError) {
    for write in queue.writes {
      guard let mapping = process.map.mapping(containing: write.address), mapping.range.upperBound - write.address >= UInt64(write.bytes.count)
        || process.map.mapping(containing: write.address + UInt64(write.bytes.count) - 1) != nil
      else { throw corrupt("its instruction queue writes to \(hex(write.address)), where nothing is mapped") }
      if mapping.isExecutable { moveOut(of: write, &trace) }
    }
    for write in queue.writes { try memory.writeText(write.bytes, to: write.address) }
    if !queue.isEmpty { try acknowledgeQueue() }
  }

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

  /// After a call that failed half-way: none of its writes is made, its record leaves the list, and the runtime stays usable.
  private func discard(_ queue: InstructionQueue, listSince head: UInt64) throws(CodedError) {
    try acknowledgeQueue()
    try memory.store(head, to: self["__ulp_state"] + 8)
    if try errorState() == 256 { try memory.store(Int32(0), to: self["__ulp_error_state"]) }
  }

  /// Live patching on or off, by the runtime's own routine; false when it is so already.
  public func setPatchable(_ enabled: Bool) throws(CodedError) -> Bool {
    let state = try errorState()
    guard state == 0 || state == 280 else { throw disabled(state) }
    if (state == 0) == enabled { return false }
    _ = try enter("__ulp_enable_or_disable_patching", [])
    return try (errorState() == 0) == enabled
  }
}
