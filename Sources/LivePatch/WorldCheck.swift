import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

/// A thread that stands in the way of a switch: it is inside a function that is about to be replaced.
public struct Blocker: Sendable {
  public enum Reason: String, Sendable {
    /// A frame of the thread is in the function.
    case inside
    /// The stack could not be unwound to its root, and a word of the rest may be a return address into the function.
    case incomplete = "unwind.incomplete"
    /// A signal interrupted the thread between two entry bytes or in a stub: a matter of microseconds.
    case transient
  }

  public let tid: pid_t
  public let reason: Reason
  /// Index of the frame, 0 the innermost; -1 when only a word on the stack is known.
  public let frame: Int
  /// Where it is inside; 0 when it is only known that its stack is too deep to be searched.
  public let address: UInt64
  public let callers: [UInt64]
  /// The function that it is inside of, when the address itself belongs to a part that the compiler put elsewhere.
  public var function: UInt64?
}

/// What the stopped threads are compared with. Prepared before the stop.
struct WorldCheck {
  /// Code that is to be left, in which nobody may be, and the function it is a part of.
  struct Leaving {
    let code: Range<UInt64>
    let function: UInt64
  }

  /// A place that is about to change or can be in transit: its entry and point.
  struct Place {
    let entry: UInt64
    let point: UInt64
  }

  let runtime: PulpRuntime
  /// Sorted by entry.
  let places: [Place]
  /// Sorted by start.
  let leaving: [Leaving]

  init(_ runtime: PulpRuntime, places: [Place], leaving: [Leaving]) {
    self.runtime = runtime
    self.places = places.sorted { $0.entry < $1.entry }
    self.leaving = leaving.sorted { $0.code.lowerBound < $1.code.lowerBound }
  }

  // MARK: - Rewinding

  /// Where a thread with this pc must be put: the function's entry, when it stands in a stub, in a padding, or between the
  /// two entry bytes. Nothing of the function has run yet: only r11 and the flags are lost, which are dead at an entry.
  func rewound(_ pc: UInt64) throws(CodedError) -> UInt64? {
    if runtime.pool.contains(pc) {
      let slot = UInt32((pc - runtime.pool.lowerBound) / UInt64(PULP_STUB_SIZE))
      let found = try runtime.memory.load(runtime.slotAddress(slot), as: pulp_slot.self)
      return found.entry != 0 ? found.entry : nil
    }
    guard let place = place(near: pc) else { return nil }
    let isInPadding = pc >= place.entry - UInt64(EntryForm.padding) && pc < place.entry
    guard isInPadding || pc == place.point + 1 else { return nil }
    return try isOurs(place) ? place.entry : nil
  }

  /// The journal remembers libraries that the program has unloaded: other code may stand there now, and a thread in that is
  /// none of our business. Asked only of the few threads that are where one could be in transit.
  private func isOurs(_ place: Place) throws(CodedError) -> Bool {
    let padding = place.entry - UInt64(EntryForm.padding)
    return try runtime.process.readIfMapped(padding, count: EntryForm.jumpSlot.count) == EntryForm.jumpSlot
  }

  /// The place whose padding or entry bytes could contain the address.
  private func place(near pc: UInt64) -> Place? {
    var low = 0
    var high = places.count
    while low < high {
      let middle = (low + high) / 2
      if places[middle].point + 2 <= pc { low = middle + 1 } else { high = middle }
    }
    guard low < places.count, places[low].entry - UInt64(EntryForm.padding) <= pc else { return nil }
    return places[low]
  }

  /// Puts every stopped thread that is in transit back to the entry (before unwinding: paddings have no unwind information).
  func rewindAll(_ trace: inout TraceSession) throws(CodedError) {
    var failure: CodedError?
    trace.forEachStopped { _, registers in
      guard registers.systemCall == nil else { return false }
      do throws(CodedError) {
        guard let entry = try rewound(registers.programCounter) else { return false }
        registers.programCounter = entry
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
  }

  // MARK: - Who is inside

  func isLeaving(_ address: UInt64) -> Bool { function(leftAt: address) != nil }

  private func function(leftAt address: UInt64) -> UInt64? {
    var low = 0
    var high = leaving.count
    while low < high {
      let middle = (low + high) / 2
      if leaving[middle].code.upperBound <= address { low = middle + 1 } else { high = middle }
    }
    return low < leaving.count && leaving[low].code.contains(address) ? leaving[low].function : nil
  }

  /// The first blocker of one stopped thread. `checksStack` false: only what must never be switched under is looked for.
  func blocker(_ tid: pid_t, _ registers: Registers, _ unwinder: StackUnwinder, checksStack: Bool) throws(CodedError) -> Blocker? {
    let trace = unwinder.unwind(tid, registers)
    let callers = trace.frames.map(\.programCounter)
    for (index, frame) in trace.frames.enumerated() {
      if index > 0 && frame.isActivation, try rewound(frame.programCounter) != nil {
        return Blocker(tid: tid, reason: .transient, frame: index, address: frame.programCounter, callers: callers)
      }
      guard checksStack, isInside(frame, index) else { continue }
      return Blocker(
        tid: tid, reason: .inside, frame: index, address: frame.programCounter, callers: callers, function: function(leftAt: frame.lookupAddress))
    }
    guard checksStack, !trace.isComplete else { return nil }
    return scan(tid, registers, callers)
  }

  /// A thread that stands at the very entry has not begun: it will select the new version.
  private func isInside(_ frame: StackFrame, _ index: Int) -> Bool {
    if frame.isActivation && isEntry(frame.programCounter) { return false }
    return isLeaving(frame.lookupAddress)
  }

  /// A thread here has not begun, and no call returns here: a word on a stack that says so is a pointer to the function, which
  /// the loader leaves there when it binds one, for example.
  private func isEntry(_ pc: UInt64) -> Bool { places.contains { pc >= $0.entry && pc <= $0.point } }

  /// Words of a stack that cannot be unwound: each may be a return address. From its very top, because the frames that were
  /// found may not be the right ones.
  private func scan(_ tid: pid_t, _ registers: Registers, _ callers: [UInt64]) -> Blocker? {
    let here = StackFrame(programCounter: registers.programCounter, isActivation: true, stackPointer: registers.stackPointer)
    if isInside(here, 0) {
      return Blocker(
        tid: tid, reason: .inside, frame: 0, address: registers.programCounter, callers: callers,
        function: function(leftAt: registers.programCounter))
    }
    let end = runtime.process.stackEnd(tid, registers)
    switch runtime.memory.scanStack(from: registers.stackPointer, to: end, where: { isLeaving($0) && !isEntry($0) }) {
    case .word(let word): return Blocker(tid: tid, reason: .incomplete, frame: -1, address: word, callers: callers, function: function(leftAt: word))
    case .tooDeep: return Blocker(tid: tid, reason: .incomplete, frame: -1, address: 0, callers: callers)
    case nil: return nil
    }
  }
}
