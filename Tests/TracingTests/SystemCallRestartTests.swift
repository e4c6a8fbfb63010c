import CLinux
import Testing

@testable import Tracing

private func stopped(in number: Int64, with result: Int64) -> Registers {
  var raw = user_regs_struct()
  raw.orig_rax = UInt64(bitPattern: number)
  raw.rax = UInt64(bitPattern: result)
  raw.rip = 0x40_1002
  raw.r10 = 1000
  return Registers(raw)
}

@Suite struct SystemCallRestartTests {
  /// <linux/errno.h>: ERESTARTSYS 512, ERESTARTNOINTR 513, ERESTARTNOHAND 514, ERESTART_RESTARTBLOCK 516.
  @Test(arguments: [Int64(512), 513, 514]) func kernelCodesIssueTheSameCallAgain(code: Int64) {
    let registers = stopped(in: 0, with: -code)
    #expect(SystemCallRestart(registers) == .again)
    let after = registers.repeating(.again)
    #expect(after.raw.rax == 0 && after.raw.rip == 0x40_1000 && after.systemCall == nil)
  }

  @Test func aRestartBlockIsResumedWithItsOwnCall() {
    let registers = stopped(in: 35, with: -516)
    #expect(SystemCallRestart(registers) == .restartBlock)
    let after = registers.repeating(.restartBlock)
    #expect(after.raw.rax == 219 && after.raw.rip == 0x40_1000 && after.systemCall == nil)
  }

  @Test(arguments: [0, 1, 42, 43, 44, 45, 46, 47, 65, 128, 208, 220, 232, 281, 288, 299, 307, 333, 441])
  func aPlainInterruptionOfAWaitIsRepeated(number: Int64) {
    #expect(SystemCallRestart(stopped(in: number, with: -4)) == .interrupted)
    #expect(SystemCallRestart(stopped(in: number, with: -11)) == .none)
    #expect(SystemCallRestart(stopped(in: number, with: 5)) == .none)
  }

  /// close close_range dup2 dup3 open openat wait4 waitid msync clone execve flock rename kill tgkill write to a closed pipe.
  @Test(arguments: [3, 436, 33, 292, 2, 257, 61, 247, 26, 56, 59, 73, 82, 62, 234, 7, 23, 270, 271, 35, 230, 202, 34, 130])
  func whatMustNotRunTwiceIsNot(number: Int64) {
    #expect(SystemCallRestart(stopped(in: number, with: -4)) == .none)
    let registers = stopped(in: number, with: -4)
    #expect(registers.repeating(.none).raw.rip == registers.raw.rip)
    #expect(registers.repeating(.none).raw.rax == registers.raw.rax)
  }

  @Test func inUserModeNothingIsRepeated() {
    for result: Int64 in [-4, -512, -516] { #expect(SystemCallRestart(stopped(in: -1, with: result)) == .none) }
    // 515 is ENOIOCTLCMD, 517 EPROBE_DEFER: not restarts.
    for result: Int64 in [-515, -517, -511] { #expect(SystemCallRestart(stopped(in: 0, with: result)) == .none) }
  }

  /// The kernel decides at the last moment: a signal that came in while the thread stood gets its EINTR, no other.
  @Test func anInterruptedCallIsLeftToTheKernel() {
    let after = stopped(in: 232, with: -4).restartedUnlessHandled()
    #expect(after.result == -514 && after.systemCall == 232 && after.raw.rip == 0x40_1002)
    #expect(SystemCallRestart(after) == .again)
  }
}

@Suite struct TimedRestartTests {
  private func restart(_ registers: Registers, after earlier: TimedRestart? = nil, at seconds: Double = 100) -> TimedRestart? {
    TimedRestart(registers, after: earlier, now: UInt64(seconds * 1e9))
  }

  @Test func onlyTimeoutsInARegisterAreKnown() {
    for number: Int64 in [232, 281] { #expect(restart(stopped(in: number, with: -4))?.timeout == 1001) }
    var poll = stopped(in: 7, with: -514)
    poll.raw.rdx = 500
    #expect(restart(poll)?.timeout == 501)
    for number: Int64 in [441, 220, 128, 0, -1] { #expect(restart(stopped(in: number, with: -4)) == nil) }
  }

  @Test(arguments: [UInt64(0), UInt64(UInt32.max), UInt64.max, 0xdead_beef_ffff_ffff, UInt64(Int32.max)])
  func endlessAndEmptyWaitsAreLeftAlone(timeout: UInt64) {
    var registers = stopped(in: 232, with: -4)
    registers.raw.r10 = timeout
    #expect(restart(registers) == nil)
  }

  @Test func aTimeoutIsAnInt() {
    var registers = stopped(in: 232, with: -4)
    registers.raw.r10 = 0xdead_beef_0000_0064
    #expect(restart(registers)?.timeout == 101)
  }

  @Test func theRestIsWhatIsLeftAndNeverLess() throws {
    var registers = stopped(in: 232, with: -4)
    var earlier = try #require(restart(registers, at: 100))
    for (seconds, rest): (Double, UInt64) in [(100.3, 701), (100.6001, 401), (101.0, 1)] {
      registers.raw.r10 = earlier.timeout
      earlier = try #require(restart(registers, after: earlier, at: seconds))
      #expect(earlier.timeout == rest)
    }
    registers.raw.r10 = earlier.timeout
    #expect(restart(registers, after: earlier, at: 200)?.timeout == 0)
  }

  /// The program's next wait, another place or another depth of the stack: each has its whole time.
  @Test func anotherCallIsToldFromOurs() throws {
    let first = stopped(in: 232, with: -4)
    let earlier = try #require(restart(first, at: 100))
    #expect(restart(first, after: earlier, at: 100.5)?.timeout == 1001)
    for change: (inout Registers) -> Void in [
      { $0.raw.rip += 2 }, { $0.raw.rsp += 8 }, { $0.raw.orig_rax = 281 }, { $0.raw.r10 = 500 },
    ] {
      var other = first
      other.raw.r10 = earlier.timeout
      change(&other)
      #expect(restart(other, after: earlier, at: 100.5)?.timeout == UInt64(UInt32(truncatingIfNeeded: other.raw.r10)) + 1)
    }
  }
}
