import CLinux
import Diagnostics
import Glibc

/// The tracer's clock at a world-stop, in nanoseconds of CLOCK_MONOTONIC.
public struct WorldStop: Sendable {
  /// Before the first thread was asked to stop.
  public let began: UInt64
  /// When the last thread stood.
  public let complete: UInt64
  public let threadCount: Int
}

extension TraceSession {
  /// Seizes every thread of the process that is not ours yet; nothing stops. True when there was any news: also a thread
  /// that ended meanwhile, because the kernel's list may break off at such a one.
  private mutating func seizeAll() throws(CodedError) -> Bool {
    var isNews = false
    for tid in try ThreadList.all(of: pid) where indexes[tid] == nil {
      do {
        try seize(tid, briefly: true)
        isNews = true
      } catch {
        let state = ThreadList.state(of: tid, in: pid)
        if state == UInt8(ascii: "X") || state == nil && ThreadList.isAbsent(tid, in: pid) { isNews = true; continue }
        // A leader that called pthread_exit stays as a zombie.
        if state == UInt8(ascii: "Z") || ThreadList.isKernelWorker(tid, in: pid) { continue }
        throw error
      }
    }
    return isNews
  }

  /// Stops every thread of the process, also those that are being created meanwhile.
  ///
  /// All are asked first and then waited for, so that the pause grows by the cost of a stop and not by a scheduling turn
  /// for each thread; but for those that a stop would wake with EINTR, see `lightSleepers`. When one cannot be stopped in time
  /// all others are let go at once and `process.unstoppable` is thrown.
  ///
  /// `urgently`: with real-time priority until `resumeWorld`, where that is allowed; for stops in which no script runs.
  /// `except`: a thread that runs on.
  public mutating func stopWorld(
    until deadline: Deadline, urgently: Bool = false, except: pid_t? = nil
  ) throws(CodedError) -> WorldStop {
    if urgently { ul_urgent(Int32(UL_URGENT_WORLD), 1) }
    ul_watchdog_start(UInt32(clamping: deadline.remainingMicroseconds))
    defer { ul_watchdog_stop() }
    var began = Deadline.now
    do {
      _ = try seizeAll()
      let others = tracees.indices.filter { tracees[$0].tid != except }
      let (sleepers, isCrowded) = lightSleepers(among: others)
      began = Deadline.now
      if !isCrowded { try stopEach(of: sleepers, until: deadline) }
      try stopAttended(among: others, last: sleepers, until: deadline)
      while try seizeAll() { try stopAttended(among: tracees.indices.filter { tracees[$0].tid != except }, until: deadline) }
    } catch {
      resumeWorld()
      throw error
    }
    receipt?.worldStopped(memory)
    return WorldStop(began: began, complete: Deadline.now, threadCount: tracees.count)
  }

  /// The threads in calls that say EINTR to every stop (signal(7)), until we have mended that: should we die in between, the
  /// program sees it. So each is stopped and mended before the next is asked, unless so many threads run that each would
  /// have to wait for a turn.
  private func lightSleepers(among indexes: [Int]) -> (indexes: [Int], isCrowded: Bool) {
    var sleepers: [Int] = []
    var running = 0
    for index in indexes where tracees[index].isRunning {
      guard let number = ThreadList.systemCall(of: tracees[index].tid, in: pid) else { running += 1; continue }
      if ul_is_repeatable_call(number) != 0 { sleepers.append(index) }
    }
    return (sleepers, running > 4 * max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  /// One after the other, for 5 ms: the rest is stopped with all others.
  private mutating func stopEach(of indexes: [Int], until deadline: Deadline) throws(CodedError) {
    let enough = Deadline(afterMicroseconds: 5_000)
    for index in indexes where !enough.hasPassed && tracees[index].isRunning {
      let held = ask(index)
      try awaitStop(index, held, until: deadline, fromSleep: true)
    }
  }

  /// Asks all that run, and those of `last` after the others; and waits for them in the opposite order.
  private mutating func stopAttended(among: [Int]? = nil, last: [Int] = [], until deadline: Deadline) throws(CodedError) {
    var asked: [(index: Int, held: ul_wait_status)] = []
    asked.reserveCapacity(tracees.count)
    let isLast = Set(last)
    for index in (among ?? Array(tracees.indices)).filter({ !isLast.contains($0) }) + last where tracees[index].isRunning {
      let held = ask(index)
      asked.append((index, held))
    }
    var failure: CodedError?
    for (index, held) in asked.reversed() {
      do {
        // After one failure the others are only collected, so that all of them can be let go.
        try awaitStop(index, held, until: failure == nil ? deadline : Deadline(afterMicroseconds: 2_000))
      } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }

  /// In a stopped world: lets some threads run for about these microseconds, and stops them again.
  public mutating func letRun(_ tids: [pid_t], microseconds: UInt64, until deadline: Deadline) throws(CodedError) {
    receipt?.worldRunsInParts()
    for tid in tids { resume(tid) }
    // Asleep, not spinning: there may be one processor only, and it may be ours by priority.
    usleep(UInt32(clamping: microseconds))
    ul_watchdog_start(UInt32(clamping: deadline.remainingMicroseconds))
    defer { ul_watchdog_stop() }
    try stopAttended(until: deadline)
  }

  /// Stops threads that were started since the world was stopped, by some that were let run.
  public mutating func stopNewcomers(until deadline: Deadline) throws(CodedError) -> [pid_t] {
    let known = Set(tracees.map(\.tid))
    ul_watchdog_start(UInt32(clamping: deadline.remainingMicroseconds))
    defer { ul_watchdog_stop() }
    while try seizeAll() { try stopAttended(until: deadline) }
    receipt?.worldStandsAgain(memory)
    return stoppedThreads.filter { !known.contains($0) }
  }

  /// What becomes of the thread that holds the right when the world goes on.
  public enum RightHolder: Sendable {
    /// It goes on, seized.
    case keep
    /// It stays stopped, with the registers it is to go on with, and our priority stays: for microseconds before `release`.
    /// To detach it later it would have to be stopped again, and among hundreds of busy threads that takes a scheduling round.
    case hold
    /// The session ends.
    case release
  }

  /// Ends a world-stop: all threads go on, but for what `holder` says.
  public mutating func resumeWorld(_ holder: RightHolder = .keep) {
    defer { if holder != .hold { ul_urgent(Int32(UL_URGENT_WORLD), 0) } }
    receipt?.worldResumes(memory)
    letThreadsGoOn(holder)
  }

  private mutating func letThreadsGoOn(_ holder: RightHolder) {
    // Should we die while it is held, it goes on with what the kernel has.
    if holder == .hold { try? commitRegisters(of: rightHolder) }
    var index = 0
    while index < tracees.count {
      let tracee = tracees[index]
      if !tracee.isRunning && tracee.state != .gone && tracee.tid == rightHolder && holder != .release {
        if holder == .keep { resume(tracee.tid) }
        index += 1
      } else if tracee.isRunning {
        // After a failure: not yet asked, or could not be stopped. What is attended stays ours for the next attempt.
        if tracee.state == .seized { release(tracee.tid, until: Deadline(afterMicroseconds: 50_000)) } else { index += 1 }
      } else {
        TraceSession.detach(tracee, memory)
        remove(index)
      }
    }
  }

  /// The world stays as it is until a call on one of its threads is over, but no longer than once more what the stop took, or a
  /// millisecond, unless `hasHeldEnough` puts that off. So a light call has the processors for itself, where its thread would
  /// otherwise wait for a turn after each of its own waits; one that needs what another thread has locked, or much time, gets it
  /// when the others go on. In no case it lasts beyond `deadline`.
  public mutating func holdWorld(since began: UInt64, until deadline: Deadline) {
    receipt?.worldResumes(memory)  // what the callee does is no difference of the stop
    heldSince = began
    let more = max(1000, (Deadline.now - began) / 1000)
    heldUntil = Deadline(afterMicroseconds: min(more, deadline.remainingMicroseconds))
    holdLimit = deadline
    heldUsage = nil
  }

  /// Whether the world has been held long enough for the thread in the call. Not while it only waits for a processor, which other
  /// programs have: released, its own process's threads would come before it as well, and it would be away for seconds.
  mutating func hasHeldEnough(for tid: pid_t) -> Bool {
    guard heldUntil.hasPassed else { return false }
    guard !holdLimit.hasPassed, let usage = ThreadList.usage(of: tid, in: pid), usage - min(usage, heldUsage ?? usage) < 1_000_000,
      ThreadList.state(of: tid, in: pid) == UInt8(ascii: "R"), ThreadList.isMachineCrowded()
    else { return true }
    heldUsage = heldUsage ?? usage
    heldUntil = Deadline(afterMicroseconds: 500)
    return false
  }

  /// Ends `holdWorld` after the last call of a session, which is to end at once: the holder of the right stays stopped for that
  /// moment, as it would otherwise have to be stopped once more, and the carrier is let go where it was taken.
  public mutating func resumeHeldWorld(afterLastCallOn tid: pid_t, _ site: CallSite) {
    while heldSince != nil && !hasHeldEnough(for: tid) {
      do throws(CodedError) {
        guard try stop(tid, until: heldUntil) else { break }
      } catch {
        if error.code == .processUnstoppable { continue }
        break
      }
      if let registers = registers(of: tid), !site.isInside(registers) { return resumeHeldWorld(.hold) }
      resume(tid)
    }
    resumeHeldWorld()
  }

  /// Ends `holdWorld`: all threads go on, as the one in the call does already. No effect without a hold.
  public mutating func resumeHeldWorld(_ holder: RightHolder = .keep) {
    guard let began = heldSince else { return }
    heldSince = nil
    letThreadsGoOn(holder)
    ul_urgent(Int32(UL_URGENT_WORLD), 0)
    borrowPause = max(borrowPause, Deadline.now - began)
  }

  /// Ends what `resumeWorld(.hold)` has left: the right is given back, or the thread that holds it goes on.
  public mutating func endHold(givingBack: Bool) {
    if givingBack { release(rightHolder) } else { resume(rightHolder) }
    ul_urgent(Int32(UL_URGENT_WORLD), 0)
  }

  /// The threads that are stopped now, in no order.
  public var stoppedThreads: [pid_t] {
    tracees.compactMap { $0.state == .stopped ? $0.tid : nil }
  }

  /// Calls `body` with each stopped thread and its registers; registers changed by it are handed on when the world resumes.
  public mutating func forEachStopped(_ body: (pid_t, inout Registers) -> Bool) {
    for index in tracees.indices where tracees[index].state == .stopped {
      if body(tracees[index].tid, &tracees[index].registers) { tracees[index].registersChanged = true }
    }
  }
}
