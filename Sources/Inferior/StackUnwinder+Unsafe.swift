import CDw
import CLinux
import Glibc
import Tracing

/// The fence around libdw: C callbacks that find their way back through an opaque pointer.
///
/// Safe because the handle outlives every call into libdw (libdw calls back only from inside `dwfl_*` functions), and
/// because the callbacks touch nothing but the handle's own state.
final class DwflHandle {
  private var dwfl: OpaquePointer?
  private let pid: pid_t
  private let memory: ProcessMemory
  private let callbacks: UnsafeMutablePointer<Dwfl_Callbacks>
  private let threadCallbacks: UnsafeMutablePointer<Dwfl_Thread_Callbacks>
  private var isAttached = false
  /// Files whose handles the modules use.
  private var files: [MappedFile] = []

  /// The piece of stack that was copied for the unwinding in progress.
  private var stackBase: UInt64 = 0
  private var stack: [UInt8] = []
  private var registers = Registers()
  private var frames: [StackFrame] = []
  private var limit = 0
  /// Whether a frame of the unwinding has no unwind information: libdw then follows rbp, which may be anything, and steps
  /// over frames that have not set it.
  private var hasGap = false
  /// Addresses that are known to have unwind information.
  private var described: Set<UInt64> = []
  /// The frame to end at; its rbx, rbp, r12-r15 (DWARF numbers 3, 6, 12-15) when it was found.
  private var isWanted: ((StackFrame) -> Bool)?
  private var preserved: [UInt64] = []
  private var isFound = false

  static let stackPiece = 16384

  init(pid: pid_t, memory: ProcessMemory) {
    self.pid = pid
    self.memory = memory
    callbacks = .allocate(capacity: 1)
    callbacks.initialize(to: Dwfl_Callbacks())
    // No search for separate debug files: .eh_frame of the mapped file is what unwinding needs.
    callbacks.pointee.find_debuginfo = { _, _, _, _, _, _, _, _ in -1 }
    callbacks.pointee.find_elf = ul_find_mapped
    callbacks.pointee.section_address = nil
    threadCallbacks = .allocate(capacity: 1)
    threadCallbacks.initialize(to: Dwfl_Thread_Callbacks())
    threadCallbacks.pointee.next_thread = { _, _, _ in 0 }
    threadCallbacks.pointee.get_thread = { _, _, argument, thread in
      thread?.pointee = argument
      return true
    }
    threadCallbacks.pointee.memory_read = { _, address, result, argument in
      let handle = Unmanaged<DwflHandle>.fromOpaque(argument!).takeUnretainedValue()
      guard let word = handle.word(at: address) else { return false }
      result!.pointee = word
      return true
    }
    threadCallbacks.pointee.set_initial_registers = { thread, argument in
      let handle = Unmanaged<DwflHandle>.fromOpaque(argument!).takeUnretainedValue()
      return handle.registers.dwarf.withUnsafeBufferPointer {
        dwfl_thread_state_registers(thread!, 0, UInt32($0.count), $0.baseAddress!)
      }
    }
    dwfl = dwfl_begin(callbacks)
  }

  deinit {
    if let dwfl { dwfl_end(dwfl) }
    callbacks.deallocate()
    threadCallbacks.deallocate()
  }

  func report(_ modules: [UnwindModule], of thread: pid_t, adding: Bool) {
    guard let dwfl else { return }
    if adding { dwfl_report_begin_add(dwfl) } else { dwfl_report_begin(dwfl) }
    for module in modules where !reportShared(module) {
      if module.isVDSO { continue }
      // add_p_vaddr: `base` is the address of the file's first byte, for ET_EXEC it is ignored by giving 0.
      dwfl_report_elf(dwfl, module.first.path, module.first.openablePath(through: thread), -1, module.base, false)
    }
    dwfl_report_end(dwfl, nil, nil)
    described.removeAll()
    if isAttached { return }
    let context = Unmanaged.passUnretained(self).toOpaque()
    isAttached = dwfl_attach_state(dwfl, nil, pid, threadCallbacks, context)
  }

  /// With a handle of the file that other processes have mapped, too. It is kept for as long as this.
  private func reportShared(_ module: UnwindModule) -> Bool {
    if module.isVDSO {
      guard let elf = DwflHandle.vdso else { return false }
      return ul_report_mapped(dwfl!, "[vdso]", module.base, module.end, elf) == 0
    }
    guard let file = MappedFiles.known(module.identity), file.isUniform, let elf = file.elf else { return false }
    files.append(file)
    return ul_report_mapped(dwfl!, module.first.path, module.base, module.end, elf) == 0
  }

  /// The kernel maps the same vDSO into every process: our own copy, in a memory file, stands for the target's.
  nonisolated(unsafe) private static let vdso: OpaquePointer? = {
    let descriptor = ul_vdso_descriptor()
    return descriptor >= 0 ? ul_elf_open(descriptor) : nil
  }()

  private func word(at address: UInt64) -> UInt64? {
    let offset = address &- stackBase
    if offset <= UInt64(stack.count), UInt64(stack.count) - offset >= 8 {
      return stack.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: Int(offset), as: UInt64.self) }
    }
    return try? memory.load(address, as: UInt64.self)
  }

  func unwind(
    _ tid: pid_t, _ start: Registers, limit: Int, piece: Int = DwflHandle.stackPiece, to isWanted: ((StackFrame) -> Bool)? = nil
  ) -> StackTrace {
    guard let dwfl, isAttached else { return StackTrace(frames: [], isComplete: false) }
    registers = start
    preserved = [start.raw.rbx, start.raw.rbp, start.raw.r12, start.raw.r13, start.raw.r14, start.raw.r15]
    isFound = false
    self.isWanted = isWanted
    defer { self.isWanted = nil }
    frames.removeAll(keepingCapacity: true)
    hasGap = false
    self.limit = limit
    stackBase = start.stackPointer &- 128
    stack = memory.readPrefix(stackBase, count: piece)
    let context = Unmanaged.passUnretained(self).toOpaque()
    let result = dwfl_getthread_frames(
      dwfl, tid,
      { frame, argument in
        let handle = Unmanaged<DwflHandle>.fromOpaque(argument!).takeUnretainedValue()
        return handle.take(frame!)
      }, context)
    return StackTrace(frames: frames, isComplete: result == 0 && !hasGap)
  }

  /// The registers of the wanted frame of the last unwinding, over those it started with.
  func registersOfWanted(from start: Registers) -> Registers? {
    guard isFound, let frame = frames.last, frame.stackPointer != 0 else { return nil }
    var result = start
    result.programCounter = frame.programCounter
    result.stackPointer = frame.stackPointer
    result.raw.rbx = preserved[0]
    result.raw.rbp = preserved[1]
    result.raw.r12 = preserved[2]
    result.raw.r13 = preserved[3]
    result.raw.r14 = preserved[4]
    result.raw.r15 = preserved[5]
    result.raw.rax = 0
    result.raw.eflags = 0x202
    return result
  }

  private func isDescribed(_ address: UInt64) -> Bool {
    if described.contains(address) { return true }
    var bias: Dwarf_Addr = 0
    var found: OpaquePointer?
    guard let module = dwfl_addrmodule(dwfl, address), let table = dwfl_module_eh_cfi(module, &bias),
      dwarf_cfi_addrframe(table, address &- bias, &found) == 0
    else { return false }
    free(UnsafeMutableRawPointer(found))
    described.insert(address)
    return true
  }

  /// One frame. The return value ends the walk when it is not DWARF_CB_OK.
  private func take(_ state: OpaquePointer) -> Int32 {
    var pc: Dwarf_Addr = 0
    var isActivation = false
    guard dwfl_frame_pc(state, &pc, &isActivation) else { return Int32(DWARF_CB_ABORT) }
    var sp: Dwarf_Word = 0
    if dwfl_frame_reg(state, 7, &sp) != 0 { sp = 0 }
    let frame = StackFrame(programCounter: pc, isActivation: isActivation, stackPointer: sp)
    frames.append(frame)
    if !isDescribed(frame.lookupAddress) { hasGap = true }
    guard let isWanted else { return Int32(frames.count < limit ? DWARF_CB_OK : DWARF_CB_ABORT) }
    // What unwind information does not mention is as it was further in (psABI 3.2.1). libdw 0.188 does so for all of them
    // but rbx, which it then calls unknown.
    for (index, number) in ([3, 6, 12, 13, 14, 15] as [UInt32]).enumerated() {
      var value: Dwarf_Word = 0
      if dwfl_frame_reg(state, number, &value) == 0 { preserved[index] = value }
    }
    isFound = frames.count > 1 && isWanted(frame)
    return Int32(frames.count < limit && !isFound ? DWARF_CB_OK : DWARF_CB_ABORT)
  }
}
