import CLinux
import CPulpABI
import Glibc

/// The receipt of one call, while it runs: how its carrier was, and every system call it has made since.
final class CallReceipt {
  enum Stage { case running, returning, over }

  struct Entry {
    let number: UInt64
    let arguments: [UInt64]
    let result: Int64
    /// Where the call was made.
    let place: UInt64
    var succeeded: Bool { !(-4095..<0).contains(result) }
  }

  let tid: pid_t
  let home: ThreadShot
  /// The registers with which the carrier is to go on.
  private(set) var after: Registers
  /// What lies in its stack below the red zone, and the red zone.
  private(set) var frame: (address: UInt64, bytes: [UInt8])
  let redZone: (address: UInt64, bytes: [UInt8])
  let process: ProcessShot
  /// Whether the carrier was taken out of a system call, which it will repeat.
  let repeatsCall: Bool
  var stage = Stage.running
  private var pending: (number: UInt64, arguments: [UInt64])?
  private(set) var entries: [Entry] = []
  /// The system calls that succeeded.
  var made: Set<UInt64> { Set(entries.lazy.filter(\.succeeded).map(\.number)) }

  init(
    tid: pid_t, home: ThreadShot, after: Registers, repeatsCall: Bool, frame: (address: UInt64, bytes: [UInt8]),
    redZone: (address: UInt64, bytes: [UInt8]), process: ProcessShot
  ) {
    self.tid = tid
    self.home = home
    self.after = after
    self.repeatsCall = repeatsCall
    self.frame = frame
    self.redZone = redZone
    self.process = process
  }

  /// The callee took away the kernel's notes of the carrier's wait: it issues its call again.
  func waitIsLost() {
    for (offset, register) in CallFrame.saved {
      var value: UInt64 = 0
      guard ul_lost_word(tid, frame.address + offset, &value) != 0 else { continue }
      withUnsafeBytes(of: value) { frame.bytes.replaceSubrange(Int(offset)..<Int(offset) + 8, with: $0) }
      after.raw[keyPath: register] = value
    }
  }

  func note(_ call: ul_system_call) {
    if call.is_entry != 0 {
      let words = call.arguments
      pending = (call.number, [words.0, words.1, words.2, words.3, words.4, words.5])
    } else if call.is_exit != 0, let begun = pending {
      pending = nil
      if entries.count < 100_000 { entries.append(Entry(number: begun.number, arguments: begun.arguments, result: call.result, place: call.instruction_pointer)) }
    }
  }
}

extension TraceSession {
  /// Whether the carrier's system calls are followed.
  func isFollowed(_ tid: pid_t) -> Bool { receipt?.call.map { $0.tid == tid && $0.stage == .running } ?? false }

  /// Begins the receipt of a call; the carrier is stopped and its frame is written.
  mutating func beginReceipt(_ tid: pid_t, _ after: Registers, repeatsCall: Bool, _ frame: CallFrame) {
    guard let receipt, let index = indexes[tid], let home = tracees[index].shot else { return }
    tracees[index].shot = nil
    let zone = after.stackPointer &- 128
    receipt.call = CallReceipt(
      tid: tid, home: home, after: after, repeatsCall: repeatsCall, frame: (frame.address, frame.bytes),
      redZone: (zone, memory.readPrefix(zone, count: 128)), process: ProcessShot(memory.thread))
  }

  /// One stop of a followed carrier at a system call: noted, compared where there is something to compare, and on.
  mutating func follow(_ tid: pid_t, _ site: CallSite) {
    var held = ul_wait_status()
    ul_unattend(tid, &held)
    var call = ul_system_call()
    guard let receipt, let current = receipt.call, current.tid == tid, ul_get_system_call(tid, &call) >= 0 else {
      ul_continue(tid, 0)
      ul_attend(tid, Int32(UL_ATTEND_SERVE))
      return
    }
    switch current.stage {
    case .running:
      current.note(call)
      // The runtime makes two calls of its own, one before and one after the callee: the second gives the mask back.
      let state = (try? memory.load(site.mailbox, as: UInt32.self)) ?? 0
      let hasReturned = state == UInt32(PULP_CALL_DONE.rawValue) || state == UInt32(PULP_CALL_ABANDONED.rawValue)
      if call.is_exit != 0, hasReturned, site.text.contains(call.instruction_pointer) {
        compareHome(current, to: receipt)
        current.stage = current.repeatsCall ? .returning : .over
      }
    case .returning:
      if call.is_entry != 0 { compareRepeated(current, call, to: receipt) }
      current.stage = .over
    case .over: break
    }
    if current.stage == .over {
      receipt.calls += 1
      receipt.call = nil
      ul_continue(tid, 0)
      ul_attend(tid, Int32(UL_ATTEND_SERVE))
    } else {
      ul_continue_to_system_call(tid, 0)
      ul_attend(tid, Int32(current.stage == .running ? UL_ATTEND_FOLLOW : UL_ATTEND_FOLLOW_HOME))
    }
  }

  /// The call has its result: follows its carrier home. Bounded, as a thread of the program may get no processor.
  mutating func followHome(_ tid: pid_t, _ site: CallSite) {
    let deadline = Deadline(afterMicroseconds: 500_000)
    while let current = receipt?.call, current.tid == tid, !deadline.hasPassed {
      let news = self.news(of: tid)
      if news.kind == UL_WAIT_STOPPED && news.event != UL_EVENT_SYSTEM_CALL || news.kind == UL_WAIT_EXITED || news.kind == UL_WAIT_KILLED { break }
      if news.kind == UL_WAIT_STOPPED { follow(tid, site) } else { ul_attend_sleep(200) }
    }
    receipt?.call = nil
  }

  /// At the end of the runtime's last system call: the mask is back, everything else follows out of the frame.
  private func compareHome(_ call: CallReceipt, to receipt: Receipt) {
    guard let now = ThreadShot(call.tid, memory, errnoOffset: receipt.errnoOffset) else { return }
    call.waitIsLost()
    // Another thread may execute a program at any moment: then nothing of what was found is of this one.
    let told = receipt.differences.count
    defer { if memory.isOver { receipt.takeBack(since: told) } }
    call.home.compareFacts(call.tid, now, made: call.made, to: receipt)
    let cause: ReceiptDifference.Cause = call.made.contains(158) ? .callee : .ulpsh  // arch_prctl(2)
    receipt.differ(call.tid, "fs_base", hex(call.home.registers.fs_base), hex(now.registers.fs_base), cause)
    receipt.differ(call.tid, "gs_base", hex(call.home.registers.gs_base), hex(now.registers.gs_base), cause)
    for (what, place) in [("call frame", call.frame), ("red zone", call.redZone)] {
      let found = memory.readPrefix(place.address, count: place.bytes.count)
      let places = place.bytes.indices.filter { $0 >= found.count || found[$0] != place.bytes[$0] }
      if !places.isEmpty { receipt.differ(call.tid, what, "same", "bytes " + places.prefix(16).map(String.init).joined(separator: " ")) }
    }
    ReceiptAttribution(call, ProcessShot(memory.thread)).tell(receipt)
  }

  /// At the entry of the system call that the carrier had been taken out of: every register. When a signal's handler came
  /// first, it is another call, and nothing is compared.
  private func compareRepeated(_ call: CallReceipt, _ entered: ul_system_call, to receipt: Receipt) {
    var expected = call.after.raw
    let behind = expected.rip &+ 2
    guard entered.instruction_pointer == behind, entered.number == expected.rax,
      let now = ThreadShot(call.tid, memory, errnoOffset: nil)
    else { return }
    // What `syscall` itself does: rcx, r11; the kernel's return value is not known yet.
    expected.orig_rax = expected.rax
    expected.rax = UInt64(bitPattern: -38)
    expected.rip = behind
    expected.rcx = behind
    expected.r11 = now.registers.r11 & 0x10000 | expected.eflags & ~0x10000
    if call.made.contains(158) { (expected.fs_base, expected.gs_base) = (now.registers.fs_base, now.registers.gs_base) }
    receipt.carriersMet += 1
    call.home.compare(call.tid, now, expected, made: call.made, to: receipt)
  }
}
