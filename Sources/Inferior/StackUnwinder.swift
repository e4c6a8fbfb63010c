import Diagnostics
import ELF
import Glibc
import Tracing

/// One frame of a stopped thread.
public struct StackFrame: Sendable {
  public let programCounter: UInt64
  /// True when the pc is where execution stands (the innermost frame, or one interrupted by a signal); false for a return
  /// address, which may already belong to the next line or function.
  public let isActivation: Bool
  /// The stack pointer of the frame, 0 when it could not be computed.
  public let stackPointer: UInt64

  public init(programCounter: UInt64, isActivation: Bool, stackPointer: UInt64) {
    self.programCounter = programCounter
    self.isActivation = isActivation
    self.stackPointer = stackPointer
  }

  /// The address to look up: of the call, not of what follows it.
  public var lookupAddress: UInt64 { isActivation ? programCounter : programCounter &- 1 }
}

/// The frames of a stopped thread, innermost first.
public struct StackTrace: Sendable {
  public let frames: [StackFrame]
  /// True only when unwinding ended at a frame with an undefined return address: the root of the thread (psABI, DWARF 6.4).
  /// Otherwise outer frames may be hidden.
  public let isComplete: Bool
}

/// Unwinds stopped threads of a process with libdw, from registers that ptrace gave us and memory read in one piece.
///
/// The modules are reported when the unwinder is made, before anything is stopped; a first unwinding warms it up.
public final class StackUnwinder {
  private let handle: DwflHandle
  private let thread: pid_t
  /// The files with code that libdw knows, by the address of their first byte.
  private var known: [UInt64: UnwindModule]

  init(pid: pid_t, memory: ProcessMemory, map: MemoryMap) {
    handle = DwflHandle(pid: pid, memory: memory)
    thread = memory.thread
    let modules = StackUnwinder.modules(map)
    known = Dictionary(modules.map { ($0.base, $0) }) { first, _ in first }
    handle.report(modules, of: thread, adding: false)
  }

  /// Takes notice of what has been loaded since. False when that lies where something else was before: this unwinder would
  /// unwind by the wrong tables.
  func follow(_ map: MemoryMap) -> Bool {
    var added: [UnwindModule] = []
    for module in StackUnwinder.modules(map) {
      if let same = known[module.base] {
        if same.identity == module.identity && same.end == module.end { continue }
        return false
      }
      if known.values.contains(where: { $0.base < module.end && module.base < $0.end }) { return false }
      added.append(module)
    }
    for module in added { known[module.base] = module }
    if !added.isEmpty { handle.report(added, of: thread, adding: true) }
    return true
  }

  /// The files with code of a mapping list, each with the address of its first byte.
  private static func modules(_ map: MemoryMap) -> [UnwindModule] {
    var modules: [UnwindModule] = []
    var base: Mapping?
    for mapping in map.mappings {
      if mapping.path == "[vdso]" {
        modules.append(UnwindModule(first: mapping, end: mapping.range.upperBound))
        continue
      }
      guard mapping.isFile else { continue }
      if mapping.offset == 0 { base = mapping }
      guard mapping.isExecutable, let first = base, first.inode == mapping.inode, first.device == mapping.device else { continue }
      if modules.last?.base == first.range.lowerBound {
        modules[modules.count - 1].end = mapping.range.upperBound
        continue
      }
      modules.append(UnwindModule(first: first, end: mapping.range.upperBound))
    }
    return modules
  }

  /// The frames up to the first one that satisfies `isWanted`, and the registers with which that one goes on when everything
  /// inside of it is given up: its return address, its stack pointer, and the registers that its callees preserve (psABI
  /// 3.2.1). Nil when unwinding does not get there. Deep enough for a recursion that fills a megabyte.
  public func unwind(
    _ tid: pid_t, _ start: Registers, to isWanted: @escaping (StackFrame) -> Bool
  ) -> (frames: [StackFrame], registers: Registers)? {
    let trace = handle.unwind(tid, start, limit: 1 << 17, piece: 1 << 20, to: isWanted)
    return handle.registersOfWanted(from: start).map { (trace.frames, $0) }
  }

  /// The frames of a stopped thread, at most `limit`.
  public func unwind(_ tid: pid_t, _ registers: Registers, limit: Int = 512) -> StackTrace {
    handle.unwind(tid, registers, limit: limit)
  }
}

/// A file for libdw, and where it is mapped.
struct UnwindModule {
  /// The mapping with its first byte.
  let first: Mapping
  /// Where its last code ends.
  var end: UInt64
  var base: UInt64 { first.range.lowerBound }
  var isVDSO: Bool { first.path == "[vdso]" }
  var identity: FileIdentity { FileIdentity(device: first.device, inode: first.inode) }
}

/// What is left to be said of a stack that cannot be unwound.
public enum StackScan: Equatable, Sendable {
  /// A word of it could be a return address of the wanted kind.
  case word(UInt64)
  /// It is deeper than one looks.
  case tooDeep
}

extension ProcessMemory {
  /// The first word from `start` on that `isWanted` says could be a return address, up to `end` or, where the stack's end is
  /// not known, to the first page that is not there; what lies deeper than 8 MiB is not looked at. Nil: there is none.
  public func scanStack(from start: UInt64, to end: UInt64?, where isWanted: (UInt64) -> Bool) -> StackScan? {
    var place = start & ~7
    let limit = place &+ (8 << 20)
    let end = end ?? .max
    while place < min(limit, end) {
      let words = readPrefix(place, count: Int(min(65536, end - place)))
      for offset in stride(from: 0, to: words.count & ~7, by: 8) {
        let word = words.withUnsafeBytes { $0.load(fromByteOffset: offset, as: UInt64.self) }
        if isWanted(word) { return .word(word) }
      }
      if words.count < 65536 { return nil }
      place += 65536
    }
    return place < end ? .tooDeep : nil
  }
}
