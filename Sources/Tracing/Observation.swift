import CLinux
import Glibc

/// The receipt of something that only reads a process: the process as a whole, before and after.
///
/// All its threads run meanwhile, so a difference alone proves nothing. What proves that it was not us is that nothing was done
/// with which a process can be changed from outside: requests of ptrace(2) and writes to its memory are counted, and
/// reading makes none. If there was any, all that differs is held against us.
public final class Observation {
  private let thread: pid_t
  private let before: ProcessShot
  private let touches = ul_touches()
  private let receipt: Receipt

  /// Nil unless receipts are wanted.
  public init?(_ memory: ProcessMemory) {
    guard let receipt = Receipt.ifWanted(memory.pid) else { return nil }
    self.receipt = receipt
    thread = memory.thread
    before = ProcessShot(thread)
  }

  public func finish() -> Receipt {
    let count = Int(clamping: ul_touches() &- touches)
    receipt.touches = count
    let after = ProcessShot(thread)
    // It has ended: nothing is left to compare.
    if after.mappings.isEmpty { return receipt }
    receipt.compare(before, after, count == 0 ? .others : .ulpsh)
    return receipt
  }
}
