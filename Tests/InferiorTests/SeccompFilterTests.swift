import Testing

@testable import Inferior

/// <linux/bpf_common.h>, assembled by hand.
private func statement(_ code: UInt16, _ k: UInt32) -> UInt64 { UInt64(code) | UInt64(k) << 32 }
private func jump(_ code: UInt16, _ k: UInt32, _ onTrue: UInt8, _ onFalse: UInt8) -> UInt64 {
  UInt64(code) | UInt64(onTrue) << 16 | UInt64(onFalse) << 24 | UInt64(k) << 32
}
private let load: UInt16 = 0x20  // BPF_LD | BPF_W | BPF_ABS
private let equal: UInt16 = 0x15  // BPF_JMP | BPF_JEQ | BPF_K
private let setBits: UInt16 = 0x45  // BPF_JMP | BPF_JSET | BPF_K
private let above: UInt16 = 0x25
private let atLeast: UInt16 = 0x35
private let answer: UInt16 = 0x06
private let allow: UInt32 = 0x7fff_0000
private let log: UInt32 = 0x7ffc_0000
private let kill: UInt32 = 0x8000_0000
private let refuse: UInt32 = 0x0005_0001  // SECCOMP_RET_ERRNO | EPERM
private let x86_64: UInt32 = 0xc000_003e

private func forbidden(_ program: [UInt64]) -> [String] {
  SeccompCheck.needed.filter { !SeccompFilter(program).allows($0) }.map(\.name)
}

@Suite struct SeccompFilterTests {
  @Test func actionsAreTold() {
    let everything = SeccompCheck.needed.map(\.name)
    #expect(forbidden([statement(answer, allow)]) == [])
    #expect(forbidden([statement(answer, log)]) == [])
    #expect(forbidden([statement(answer, allow | 0xffff)]) == [], "the low half is data")
    // KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, USER_NOTIF, TRACE: none of them runs the call.
    for action: UInt32 in [kill, 0, 0x0003_0000, refuse, 0x7fc0_0000, 0x7ff0_0000] {
      #expect(forbidden([statement(answer, action)]) == everything)
    }
    #expect(forbidden([]) == everything, "a program without an end answers nothing")
  }

  @Test func executableMappingsCanBeForbiddenAlone() {
    let program = [
      statement(load, 0), jump(equal, 9, 0, 3), statement(load, 16 + 2 * 8), jump(setBits, 4, 0, 1), statement(answer, kill),
      statement(answer, allow),
    ]
    #expect(forbidden(program) == ["mmap (executable)"])
  }

  @Test func anErrorNumberForbidsAsWell() {
    let program = [statement(load, 0), jump(equal, 10, 0, 1), statement(answer, refuse), statement(answer, allow)]
    #expect(forbidden(program) == ["mprotect (readable)"])
  }

  @Test func theArchitectureIsOurs() {
    let program = [
      statement(load, 4), jump(equal, x86_64, 1, 0), statement(answer, kill), statement(load, 0), jump(atLeast, 0x4000_0000, 0, 1),
      statement(answer, kill), statement(answer, allow),
    ]
    #expect(forbidden(program) == [])
    #expect(forbidden([statement(load, 4), jump(equal, 0x4000_0003, 0, 1), statement(answer, allow), statement(answer, kill)]).count > 10)
  }

  @Test func anAllowListNamesWhatItLacks() {
    // systemd's way: read, close, futex and nothing else.
    let program = [
      statement(load, 0), jump(equal, 0, 3, 0), jump(equal, 3, 2, 0), jump(equal, 202, 1, 0), statement(answer, refuse),
      statement(answer, allow),
    ]
    #expect(!forbidden(program).contains("read") && !forbidden(program).contains("futex") && !forbidden(program).contains("close"))
    #expect(forbidden(program).contains("openat") && forbidden(program).contains("mmap (anonymous)"))
  }

  /// A program's arithmetic, its scratch memory and its index register, with the answer as result.
  @Test func everyInstructionIsUnderstood() {
    let call = SeccompCheck.needed[0]
    func result(_ program: [UInt64]) -> UInt32 { SeccompFilter(program + [statement(0x16, 0)]).run(call) }
    let seven = statement(0x00, 7)
    for (code, operand, expected): (UInt16, UInt32, UInt32) in [
      (0x04, 3, 10), (0x14, 3, 4), (0x24, 3, 21), (0x34, 2, 3), (0x44, 8, 15), (0x54, 6, 6), (0x64, 2, 28), (0x74, 1, 3),
      (0x94, 4, 3), (0xa4, 2, 5), (0x84, 0, 0 &- 7), (0x34, 0, 0),
    ] {
      #expect(result([seven, statement(code, operand)]) == expected, "\(code)")
    }
    #expect(result([seven, statement(0x02, 5), statement(0x00, 0), statement(0x60, 5)]) == 7, "st, ld mem")
    #expect(result([seven, statement(0x07, 0), statement(0x00, 5), statement(0x0c, 0)]) == 12, "tax, add x")
    #expect(result([statement(0x01, 9), statement(0x87, 0)]) == 9, "ldx, txa")
    #expect(result([statement(0x01, 9), statement(0x03, 2), statement(0x60, 2)]) == 9, "stx")
    #expect(result([statement(0x80, 0)]) == 64, "ld len: sizeof(struct seccomp_data)")
    #expect(result([statement(0x81, 0), statement(0x87, 0)]) == 64, "ldx len")
    #expect(result([seven, statement(0x05, 1), statement(0x00, 0)]) == 7, "ja")
    #expect(result([seven, jump(above, 7, 1, 0), statement(0x00, 1)]) == 1, "jgt")
    #expect(result([statement(load, 0)]) == call.number && result([statement(load, 4)]) == x86_64)
    // Arguments are 64 bits wide, low half first.
    #expect(result([statement(load, 16)]) == UInt32(bitPattern: -100) && result([statement(load, 20)]) == UInt32.max)
  }
}
