import CLinux
import Glibc

/// What to do about a system call that our stop interrupted, decided from the registers alone.
///
/// The kernel leaves one of its private restart codes in rax when it means to restart the call on the way out; it does so by
/// itself unless we change the registers, and must be imitated when we put the thread elsewhere first. Calls of the epoll,
/// semop and timed-socket families return a plain EINTR to every stop (signal(7)); the program has done nothing to deserve
/// it, so the call is issued again.
public enum SystemCallRestart: Equatable, Sendable {
  /// In user mode, or the call is complete.
  case none
  /// -ERESTARTSYS, -ERESTARTNOINTR, -ERESTARTNOHAND: issue the same call again.
  case again
  /// -ERESTART_RESTARTBLOCK: issue restart_syscall(2); the kernel remembers the time that is left.
  case restartBlock
  /// A plain EINTR of a call that may be issued again without being done twice.
  case interrupted

  static let codes: [Int64: SystemCallRestart] = [-512: .again, -513: .again, -514: .again, -516: .restartBlock]

  public init(_ registers: Registers) {
    guard let number = registers.systemCall else {
      self = .none
      return
    }
    if let known = Self.codes[registers.result] {
      self = known
    } else if registers.result == -4 && ul_is_repeatable_call(number) != 0 {
      self = .interrupted
    } else {
      self = .none
    }
  }
}

extension Registers {
  /// The registers with which the thread repeats its interrupted call when it is put back by us rather than by the kernel.
  /// rip points behind the two-byte `syscall` instruction, hence the 2.
  func repeating(_ restart: SystemCallRestart) -> Registers {
    var copy = self
    switch restart {
    case .none: break
    case .again, .interrupted:
      copy.raw.rax = raw.orig_rax
      copy.raw.rip = raw.rip &- 2
    case .restartBlock:
      copy.raw.rax = 219  // restart_syscall(2)
      copy.raw.rip = raw.rip &- 2
    }
    // Tells the kernel that no system call is in progress, so that it does not apply a restart of its own.
    copy.raw.orig_rax = UInt64.max
    return copy
  }

  /// The registers with which a wait is issued again that the kernel has no notes of any more, as after a callee that slept. A
  /// sleep that tells its rest goes on with that, other timeouts begin again. Nil for a thread in no such wait, and where nobody
  /// tells which call it is.
  func reissuingWait(of tid: pid_t) -> Registers? {
    var copy = self
    return ul_reissue_wait(tid, &copy.raw) == 0 ? nil : copy
  }

  /// The registers with which the kernel itself repeats an interrupted call, unless it delivers a signal on the way: then
  /// the program gets its EINTR. Only the kernel can tell, as a signal may come in until the thread runs, and a call with a
  /// signal mask of its own (epoll_pwait) blocks others than the thread does.
  func restartedUnlessHandled() -> Registers {
    var copy = self
    copy.raw.rax = UInt64(bitPattern: -514)  // -ERESTARTNOHAND
    return copy
  }
}

/// A timed call that was issued again in this session, so that a second restart waits only for the rest.
struct TimedRestart {
  let systemCall: Int
  /// The register that has the timeout.
  let place: any WritableKeyPath<user_regs_struct, UInt64> & Sendable
  let programCounter, stackPointer: UInt64
  /// What the call was given as its timeout, milliseconds: never what the program itself would give it, so that a call of
  /// the program's own at the same place is told from ours.
  let timeout: UInt64
  /// When it is to end, CLOCK_MONOTONIC nanoseconds.
  let end: UInt64

  /// Where a call has its timeout in milliseconds: epoll_wait and epoll_pwait in r10, poll in rdx. The others keep theirs in
  /// memory, which is not ours to change.
  static let places: [Int: any WritableKeyPath<user_regs_struct, UInt64> & Sendable] = [232: \.r10, 281: \.r10, 7: \.rdx]

  /// The restart of a call with a timeout in a register; nil for others.
  init?(_ registers: Registers, after earlier: TimedRestart?, now: UInt64 = Deadline.now) {
    guard let number = registers.systemCall, let place = TimedRestart.places[number] else { return nil }
    let given = Int32(truncatingIfNeeded: registers.raw[keyPath: place])
    guard given > 0, given < Int32.max else { return nil }
    systemCall = number
    self.place = place
    programCounter = registers.programCounter
    stackPointer = registers.stackPointer
    if let earlier, earlier.isCalled(by: registers) {
      end = earlier.end
      timeout = end > now ? (end - now + 999_999) / 1_000_000 : 0
    } else {
      timeout = UInt64(given) + 1
      end = now + timeout * 1_000_000
    }
  }

  private func isCalled(by registers: Registers) -> Bool {
    systemCall == registers.systemCall && programCounter == registers.programCounter && stackPointer == registers.stackPointer
      && timeout == UInt64(UInt32(truncatingIfNeeded: registers.raw[keyPath: place]))
  }
}
