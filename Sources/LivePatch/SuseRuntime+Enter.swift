import Diagnostics
import ELF
import Glibc
import Inferior
import Tracing

/// How one of SUSE's entry points is called.
public struct EnterOptions: Sendable {
  /// Microseconds until the world goes on, whatever the call does.
  public var timeout: UInt64 = 5_000_000
  /// The functions that the call is about: its writes to code must lie there. Nil: wherever there is code.
  public var entries: [UInt64]?
  /// Whether no thread may be in the code that these functions lead to now.
  public var checksStack = false
  public var seccomp = SeccompPolicy.check
  /// Microseconds for which threads may be held until the last one is out of the allocator and the loader.
  public var longestHold: UInt64 = 50_000
  /// Microseconds after which the call is not begun any more; nil: no limit. What it takes itself cannot be known.
  public var maxPause: UInt64?
  public init() {}
}

/// What one call of an entry point did.
public struct EnterOutcome {
  /// What the entry returned in rax; nil when threads were in the way and nothing was called.
  public let value: UInt64?
  public let blockers: [Blocker]
  /// Texts of the queue.
  public let prints: [String]
  public let writeCount: Int
  /// How long the world stood still.
  public let pauseNanoseconds: UInt64
  /// Nil unless receipts are wanted.
  public let receipt: Receipt?
}

/// SUSE's tool diverts the main thread into an entry point that ends in `int3`: when the tool dies, so does the process. Here
/// the routine behind the entry is called instead (`90 90 e8 rel32 cc`), on any thread that is safe to borrow, and it
/// returns through a signal frame: registers, vector state and signal mask come back without us.
///
/// As with SUSE's tool the world stands still meanwhile. The runtime answers EAGAIN when it is entered while the allocator is
/// in use, and disables itself for good when the loader's lock is contended; with every thread found outside of both, it
/// never gets to see that.
extension SuseRuntime {
  /// What a call is made with, in a stopped world.
  struct Caller {
    let carrier: pid_t
    let site: BareCallSite
    let deadline: Deadline

    /// For what clears up after a call, also when that took all the time there was.
    var inNewTime: Caller { Caller(carrier: carrier, site: site, deadline: Deadline(afterMicroseconds: 2_000_000)) }
  }

  public func enter(_ name: String, _ input: [UInt8], _ options: EnterOptions = EnterOptions()) throws(CodedError) -> EnterOutcome {
    guard SuseRuntime.entries.contains(name) else {
      throw CodedError(.usage, "libpulp has no entry point \(printable(name))")
    }
    guard has(name) else { throw lacks(name) }
    guard input.count < SuseRuntime.metadataSize else {
      throw CodedError(.containerMalformed, "\(input.count) bytes of metadata are more than SUSE's runtime takes (\(SuseRuntime.metadataSize - 1))")
    }
    _ = try queue()  // one of a newer version is refused before anything is called
    let callee = try self.callee(of: name)
    let changes = name == "__ulp_trigger" || name == "__ulp_revert_all"
    return try withStoppedWorld(options, quiet: changes) { (trace, caller) throws(CodedError) in
      // Called with writes waiting it would disable itself for good.
      if changes, try isPending() {
        throw CodedError(
          .operationPending, "the writes of an earlier call in process \(process.pid) were not made",
          data: ["pid": .integer(Int64(process.pid))])
      }
      let before = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
      let stateBefore = try errorState()
      try process.applySeccomp(options.seccomp, to: caller.carrier, &trace, site: nil)
      // What is not known to have been there before is unloaded after a failure.
      let known = changes ? Set(try process.libraries().map(\.bias)) : []
      let watch = changes ? try CalleeWatch(bareCallIn: process, caller.carrier) : nil
      let value: UInt64
      do throws(CodedError) {
        value = try call(callee, input, &trace, caller, changes: changes, judge: watch.map { watch in { watch.judge($0) } })
      } catch {
        guard let ending = watch?.ending, error.code == .processGone || error.code == .callLost else { throw error }
        var known = error
        known.message += ": the container \(ending)"
        throw known.with("cause", .text("exit"))
      }
      guard changes else { return (value, InstructionQueue.nothing) }
      let queue = try self.queue()
      if let fault = watch?.fault {
        // A constructor was forced to return. The runtime does not know.
        try takeBack(&trace, caller, listSince: before)
        throw fault.with("unloaded", .flag(try unload(SuseRuntime.path(in: input), unlessIn: known, &trace, caller)))
      }
      if value == 0 {
        if let unexpected = try unexpected(queue, options.entries, input) {
          try takeBack(&trace, caller, listSince: before)
          if input.first == 1 { _ = try unload(SuseRuntime.path(in: input), unlessIn: known, &trace, caller) }
          throw unexpected
        }
        try execute(queue, &trace)
      } else {
        let head = try memory.load(self["__ulp_state"] + 8, as: UInt64.self)
        let state = try errorState()
        if !queue.isEmpty || head != before || state != stateBefore { try takeBack(&trace, caller, listSince: before) }
      }
      return (value, queue)
    }
  }

  /// The container's path in metadata that apply it ("libpulp interface", 1.4).
  static func path(in input: [UInt8]) -> String? {
    guard input.count > 37, input[0] == 1 else { return nil }
    let size = (0..<4).reduce(0) { $0 | Int(input[33 + $1]) << (8 * $1) }
    return size > 0 && size <= input.count - 37 ? String(decoding: input[37..<(37 + size - 1)], as: UTF8.self) : nil
  }

  /// One call, and what is known of it when it does not return.
  func call(
    _ callee: UInt64, _ input: [UInt8], _ trace: inout TraceSession, _ caller: Caller, changes: Bool = true,
    judge: ((CallEvent) -> CallVerdict)? = nil
  ) throws(CodedError) -> UInt64 {
    try memory.write(input + [0], to: self["__ulp_metadata_buffer"])
    do throws(CodedError) {
      return try trace.bareCall(on: caller.carrier, caller.site, function: callee, arguments: [], until: caller.deadline, judge: judge)
    } catch {
      if changes {
        // Taken out of the middle of the loader: its locks stay taken.
        if error.code == .callFault || error.code == .callLost { try setErrorState(256) }
        // It goes on. Whoever comes next, with whatever tool, must not take what it leaves for a change that is wanted.
        if error.code == .callTimeout, try errorState() == 0 { try setErrorState(SuseRuntime.lateCall) }
      }
      throw error
    }
  }

  // MARK: - The call's surroundings

  /// The routine behind an entry, out of its `call`.
  func callee(of name: String) throws(CodedError) -> UInt64 {
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

  /// Runs `body` with every thread stopped and a carrier chosen; if `quiet`, with nobody in the allocator, the loader or
  /// the code that is to be left.
  func withStoppedWorld(
    _ options: EnterOptions, quiet: Bool, _ body: (inout TraceSession, Caller) throws(CodedError) -> (UInt64, InstructionQueue)
  ) throws(CodedError) -> EnterOutcome {
    try process.checkTraceable()
    let deadline = Deadline(afterMicroseconds: options.timeout)
    // Whatever can be read or loaded beforehand, is: the world waits for none of it.
    let site = try process.bareCallSite()
    let unwinder = process.currentUnwinder()
    try process.prepareForQuiet()
    let code = quiet ? try codeInForce(options) : []
    let places = quiet ? placesOfDirectWrites(options) : []
    var trace = try TraceSession(memory)
    let receipt = trace.receipt
    trace.errnoOffset = process.errnoOffset
    receipt?.errnoOffset = trace.errnoOffset
    var began = Deadline.now
    func outcome(_ value: UInt64?, _ blockers: [Blocker], _ queue: InstructionQueue) -> EnterOutcome {
      EnterOutcome(
        value: value, blockers: blockers, prints: queue.instructions.compactMap { if case .print(let text) = $0 { text } else { nil } },
        writeCount: queue.writes.count, pauseNanoseconds: Deadline.now - began, receipt: receipt)
    }
    do throws(CodedError) {
      began = try trace.stopWorld(until: Deadline(afterMicroseconds: PatchOperation.stopLimit), urgently: true).began
      if quiet { try process.quieten(&trace, until: Deadline(afterMicroseconds: min(options.longestHold, deadline.remainingMicroseconds))) }
      let stopped = trace.stoppedThreads.compactMap { tid in trace.registers(of: tid).map { (tid, $0) } }
      let blockers = stopped.compactMap { blocker($0.0, $0.1, unwinder, code, places) }
      guard blockers.isEmpty else {
        let blocked = outcome(nil, blockers, .nothing)
        trace.end()
        return blocked
      }
      let carrier = try process.chooseCarrier(&trace, among: stopped.map(\.0), until: deadline, seccomp: options.seccomp)
      if let limit = options.maxPause, Deadline.now - began > limit * 1000 {
        throw CodedError(
          .switchPause, "process \(process.pid) had stood still for \((Deadline.now - began) / 1000) us, longer than `max_pause` (\(limit) us)",
          data: ["pid": .integer(Int64(process.pid))])
      }
      let (value, queue) = try body(&trace, Caller(carrier: carrier, site: site, deadline: deadline))
      trace.resumeWorld()
      let done = outcome(value, [], queue)
      trace.end()
      return done
    } catch {
      trace.resumeWorld()
      trace.end()
      throw error
    }
  }

  /// Where a version without a queue writes in the middle of its call: nobody can be moved out of the way afterwards.
  private func placesOfDirectWrites(_ options: EnterOptions) -> [Range<UInt64>] {
    if leavesWrites { return [] }
    return (options.entries ?? []).map { $0 &- UInt64(EntryForm.padding)..<$0 &+ 6 }
  }

  /// The code that calls of the functions reach now: a replacement of the newest patch, or the original.
  private func codeInForce(_ options: EnterOptions) throws(CodedError) -> [WorldCheck.Leaving] {
    guard options.checksStack, let entries = options.entries else { return [] }
    let patches = try appliedPatches()
    var found: [WorldCheck.Leaving] = []
    for entry in entries {
      let function = patches.lazy.flatMap(\.units).first { $0.entry == entry }?.replacement ?? entry
      found += try process.code(ofFunctionAt: function).map { WorldCheck.Leaving(code: $0, function: function) }
    }
    return found
  }

  private func blocker(
    _ tid: pid_t, _ registers: Registers, _ unwinder: StackUnwinder, _ code: [WorldCheck.Leaving], _ places: [Range<UInt64>]
  ) -> Blocker? {
    let pc = registers.programCounter
    if registers.systemCall == nil, places.contains(where: { $0.contains(pc) }) {
      return Blocker(tid: tid, reason: .transient, frame: 0, address: pc, callers: [])
    }
    if code.isEmpty { return nil }
    func function(at address: UInt64) -> UInt64? { code.first { $0.code.contains(address) }?.function }
    let trace = unwinder.unwind(tid, registers)
    let callers = trace.frames.map(\.programCounter)
    for (index, frame) in trace.frames.enumerated() {
      guard let function = function(at: frame.lookupAddress) else { continue }
      // A thread that stands at the very entry has not begun.
      if frame.isActivation, frame.programCounter &- function <= 4 { continue }
      return Blocker(tid: tid, reason: .inside, frame: index, address: frame.programCounter, callers: callers, function: function)
    }
    guard !trace.isComplete else { return nil }
    switch memory.scanStack(from: registers.stackPointer, to: process.stackEnd(tid, registers), where: { function(at: $0) != nil }) {
    case .word(let word): return Blocker(tid: tid, reason: .incomplete, frame: -1, address: word, callers: callers, function: function(at: word))
    case .tooDeep: return Blocker(tid: tid, reason: .incomplete, frame: -1, address: 0, callers: callers)
    case nil: return nil
    }
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
