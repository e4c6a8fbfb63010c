import CLinux
import CPulpABI
import Testing

@testable import Tracing

@Suite struct CallFrameTests {
  private static let site = CallSite(
    entry: 0x1111_0000, abandon: 0x1111_0100, text: 0x1111_0000..<0x1111_0200, stack: 0x2222_0000..<0x2232_0000, mailbox: 0x3333_0000)

  private static func registers(stackPointer: UInt64) -> Registers {
    var raw = user_regs_struct()
    (raw.rax, raw.rbx, raw.rcx, raw.rdx, raw.rsi, raw.rdi, raw.rbp) = (1, 2, 3, 4, 5, 6, 7)
    (raw.r8, raw.r9, raw.r10, raw.r11, raw.r12, raw.r13, raw.r14, raw.r15) = (8, 9, 10, 11, 12, 13, 14, 15)
    (raw.rip, raw.eflags, raw.rsp, raw.orig_rax) = (0x40_1234, 0x10ed7, stackPointer, 230)
    (raw.fs_base, raw.cs, raw.ss) = (0x7000, 0x33, 0x2b)
    return Registers(raw)
  }

  private static func frame(stackPointer: UInt64, xstate: Int) -> CallFrame {
    CallFrame(
      site: site, function: 0x4444_0000, arguments: [21, 22, 23, 24, 25, 26, 27], registers: registers(stackPointer: stackPointer),
      xstate: (0..<xstate).map { UInt8(truncatingIfNeeded: $0) }, mask: 0xfeed, sequence: 99)
  }

  /// Any stack pointer, also odd ones (a thread may be stopped between two pushes); x87 only, AVX, AVX-512, AMX.
  @Test(arguments: [UInt64(0x7fff_0000_0000), 0x7fff_0000_0008, 0x7fff_0000_003f, 0x7fff_0000_0041], [576, 832, 2432, 2696, 11008])
  func everythingIsWhereTheRuntimeLooks(stackPointer: UInt64, xstate: Int) throws {
    let frame = Self.frame(stackPointer: stackPointer, xstate: xstate)
    // XRSTOR faults unless its image is 64-byte aligned (Intel SDM); the header before it has 256 bytes.
    #expect(frame.address % 64 == 0 && MemoryLayout<pulp_call_frame>.size == 256)
    let end = frame.exit.address + UInt64(frame.exit.bytes.count)
    #expect(end == stackPointer - 128, "the red zone is left alone, and nothing is written above the exit words")
    let words = frame.bytes.withUnsafeBytes { bytes in (0..<32).map { bytes.load(fromByteOffset: $0 * 8, as: UInt64.self) } }
    #expect(words[0..<15] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    let exitStack = words[15]
    #expect(exitStack == stackPointer - 144)
    #expect(words[16] == 0xfeed && words[17] == 0x4444_0000)
    #expect(words[18..<24] == [21, 22, 23, 24, 25, 26] && words[24] == 99)
    #expect(words[25...].allSatisfy { $0 == 0 })
    #expect(frame.bytes[256..<256 + xstate].elementsEqual((0..<xstate).map { UInt8(truncatingIfNeeded: $0) }))
    #expect(frame.address + 256 + UInt64(xstate) <= exitStack, "popfq's words are not part of the image")
    #expect(frame.bytes.count == 256 + xstate && frame.exit.address == exitStack)
    let last = frame.exit.bytes.withUnsafeBytes { bytes in (0..<2).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) } }
    // `popfq; ret $128` ends at the original rsp.
    #expect(last == [0x10ed7, 0x40_1234])
    #expect(exitStack + 16 + 128 == stackPointer)
  }

  @Test func theCarrierEntersOnTheCallStack() {
    let frame = Self.frame(stackPointer: 0x7fff_0000_0000, xstate: 832)
    let entry = frame.entryRegisters.raw
    #expect(entry.rip == 0x1111_0000 && entry.rsp == 0x2232_0000 && entry.r12 == frame.address)
    #expect(entry.orig_rax == UInt64.max, "or the kernel would apply a restart of its own to the new rip")
    #expect(entry.eflags == 0x202)
    #expect(entry.fs_base == 0x7000 && entry.cs == 0x33 && entry.ss == 0x2b)
  }

  /// Of a stack of unknown size only the exit words are used.
  @Test func aFrameInTheCallStackLeavesTheCarriersAlone() {
    let frame = CallFrame(
      site: Self.site, function: 0x4444_0000, arguments: [], registers: Self.registers(stackPointer: 0x7fff_0000_0000),
      xstate: [UInt8](repeating: 0, count: 832), mask: 0, sequence: 1, inCallStack: true)
    #expect(frame.address % 64 == 0 && frame.address + UInt64(frame.bytes.count) <= 0x2232_0000)
    #expect(frame.entryRegisters.raw.rsp == frame.address && frame.entryRegisters.raw.r12 == frame.address)
    #expect(frame.exit.address == 0x7fff_0000_0000 - 144 && frame.exit.bytes.count == 16)
    #expect(Self.site.isInside(frame.entryRegisters))
  }

  @Test func aThreadInTheCallIsRecognised() {
    var registers = Registers()
    for (counter, stack, expected) in [
      (UInt64(0x1111_0000), UInt64(0x5000), true), (0x1111_01ff, 0x5000, true), (0x1111_0200, 0x5000, false),
      (0x9999, 0x2232_0000, true), (0x9999, 0x2222_0001, true), (0x9999, 0x2222_0000, false), (0x9999, 0x2232_0001, false),
    ] {
      registers.programCounter = counter
      registers.stackPointer = stack
      #expect(Self.site.isInside(registers) == expected)
    }
  }
}
