import CLinux

/// futex(2) on x86-64, and what glibc keeps in a mutex: struct __pthread_mutex_s in <bits/struct_mutex.h>, whose first word is
/// the futex.
enum Futex {
  /// The number of the system call.
  static let systemCall: UInt64 = 202
  /// The bits of its second argument that name the operation.
  private static let commands: UInt64 = 0x7f
  /// Where a mutex has the number of the thread that owns it.
  static let mutexOwner: UInt64 = 8
  /// The first word of a locked mutex that nobody is to be woken for.
  static let lockedUncontended: UInt32 = 1

  /// FUTEX_WAIT, FUTEX_WAIT_BITSET or FUTEX_LOCK_PI, private or not.
  static func waits(_ operation: UInt64) -> Bool { [0, 9, 6].contains(operation & commands) }
  /// FUTEX_WAKE, FUTEX_WAKE_BITSET or FUTEX_UNLOCK_PI, private or not.
  static func wakes(_ operation: UInt64) -> Bool { [1, 10, 7].contains(operation & commands) }
}

extension Registers {
  /// Whether a stopped thread is to wait for a futex again as soon as it goes on.
  func awaits(_ futex: UInt64) -> Bool { systemCall == Int(Futex.systemCall) && raw.rdi == futex }
}

extension ul_system_call {
  /// Whether this entry into a system call is to wake somebody who waits for a futex.
  func wakes(_ futex: UInt64) -> Bool { number == Futex.systemCall && arguments.0 == futex && Futex.wakes(arguments.1) }
}
