import CLinux

/// The general registers of a stopped thread (x86-64), as PTRACE_GETREGS gives them.
///
/// `systemCall` and `result` speak of the system call that the stop interrupted: at a ptrace stop `orig_rax` is its number,
/// or negative when the thread was in user mode.
public struct Registers: Sendable {
  public var raw: user_regs_struct

  public init(_ raw: user_regs_struct = user_regs_struct()) { self.raw = raw }

  public var programCounter: UInt64 {
    get { raw.rip }
    set { raw.rip = newValue }
  }
  public var stackPointer: UInt64 {
    get { raw.rsp }
    set { raw.rsp = newValue }
  }
  /// The thread pointer: base of the thread's static TLS.
  public var threadPointer: UInt64 { raw.fs_base }

  /// The number of the interrupted system call, nil in user mode.
  public var systemCall: Int? {
    let number = Int64(bitPattern: raw.orig_rax)
    return number >= 0 ? Int(number) : nil
  }
  /// The first three arguments of the interrupted system call.
  public var systemCallArguments: [UInt64] { [raw.rdi, raw.rsi, raw.rdx] }
  public var result: Int64 { Int64(bitPattern: raw.rax) }

  /// The 16 registers in DWARF numbering followed by the return address column (psABI, figure 3.36).
  public var dwarf: [UInt64] {
    [
      raw.rax, raw.rdx, raw.rcx, raw.rbx, raw.rsi, raw.rdi, raw.rbp, raw.rsp,
      raw.r8, raw.r9, raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15, raw.rip,
    ]
  }

  /// Names and values in the order people expect.
  public var named: [(name: String, value: UInt64)] {
    [
      ("rip", raw.rip), ("rsp", raw.rsp), ("rbp", raw.rbp), ("rax", raw.rax), ("rbx", raw.rbx), ("rcx", raw.rcx),
      ("rdx", raw.rdx), ("rsi", raw.rsi), ("rdi", raw.rdi), ("r8", raw.r8), ("r9", raw.r9), ("r10", raw.r10),
      ("r11", raw.r11), ("r12", raw.r12), ("r13", raw.r13), ("r14", raw.r14), ("r15", raw.r15),
      ("eflags", raw.eflags), ("orig_rax", raw.orig_rax), ("fs_base", raw.fs_base), ("gs_base", raw.gs_base),
    ]
  }
}
