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
  private var known: Set<UInt64>

  init(pid: pid_t, memory: ProcessMemory, map: MemoryMap) {
    handle = DwflHandle(pid: pid, memory: memory)
    thread = memory.thread
    let modules = StackUnwinder.modules(map, thread: thread)
    known = Set(modules.map(\.base))
    handle.report(modules, adding: false)
  }

  /// Reports what has been loaded since, and unwinds once with registers of earlier: the files are then mapped and parsed
  /// before anything is stopped. What those registers lead to is of no interest.
  func prepare(_ map: MemoryMap, _ rehearsal: (tid: pid_t, registers: Registers)?) {
    let added = StackUnwinder.modules(map, thread: thread).filter { known.insert($0.base).inserted }
    if !added.isEmpty { handle.report(added, adding: true) }
    if let rehearsal { _ = unwind(rehearsal.tid, rehearsal.registers) }
  }

  /// The files with code of a mapping list, each with the address of its first byte.
  private static func modules(_ map: MemoryMap, thread: pid_t) -> [UnwindModule] {
    var modules: [UnwindModule] = []
    var base: Mapping?
    for mapping in map.mappings {
      if mapping.path == "[vdso]" {
        modules.append(UnwindModule(path: "[vdso]", displayPath: "[vdso]", base: mapping.range.lowerBound))
        continue
      }
      guard mapping.isFile else { continue }
      if mapping.offset == 0 { base = mapping }
      guard mapping.isExecutable, let first = base, first.inode == mapping.inode, first.device == mapping.device else { continue }
      if modules.last?.base == first.range.lowerBound { continue }
      modules.append(
        UnwindModule(
          path: first.openablePath(through: thread), displayPath: mapping.path, base: first.range.lowerBound))
    }
    return modules
  }

  /// The registers with which the first frame that satisfies `isWanted` goes on when everything inside of it is given up:
  /// its return address, its stack pointer, and the registers that its callees preserve (psABI 3.2.1). Nil when unwinding
  /// does not get there.
  public func registers(_ tid: pid_t, _ start: Registers, unwoundTo isWanted: (StackFrame) -> Bool) -> Registers? {
    let trace = handle.unwind(tid, start, limit: 256, keepingRegisters: true)
    guard let index = trace.frames.firstIndex(where: isWanted), index > 0 else { return nil }
    return handle.registers(ofFrame: index, from: start)
  }

  /// The frames of a stopped thread, at most `limit`.
  public func unwind(_ tid: pid_t, _ registers: Registers, limit: Int = 512) -> StackTrace {
    handle.unwind(tid, registers, limit: limit)
  }
}

/// A file for libdw, and where it is mapped.
struct UnwindModule {
  let path: String
  let displayPath: String
  let base: UInt64
}
