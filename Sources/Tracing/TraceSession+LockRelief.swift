import CLinux
import Diagnostics
import Glibc

/// What keeps a borrowed thread from its work: others that take all the time what it needs.
///
/// A lock of glibc goes to whoever comes first when it is free. In a program whose threads do nothing but dlopen(3) the one who
/// has just released the loader's is back before the one who is woken runs, hundreds of times in a row.
struct Hindrance {
  /// When the wait for the call began (CLOCK_MONOTONIC), and how much processor time its thread had used before, in nanoseconds.
  let began = Deadline.now
  let usageBefore: UInt64?
  /// The next time that it is worth a look.
  var next = Deadline(afterMicroseconds: Hindrance.patience)
  /// How often the world may still be held on its account.
  var holds = 3

  /// Microseconds of waiting that are no reason to stop others.
  static let patience: UInt64 = 1500
  /// The longest hold, with what it takes to stop the others.
  static let longest: UInt64 = 3000

  init(_ tid: pid_t, in pid: pid_t) { usageBefore = ThreadList.usage(of: tid, in: pid) }
}

extension TraceSession {
  /// Holds the world, as `holdWorld` does, when the borrowed thread has waited for long for a lock that another thread has, or for
  /// a processor beside others of its process. The hold then leads owners out of their locks, see `leadOwner`.
  ///
  /// - Parameter microseconds: how long the others may stand.
  mutating func relieve(_ tid: pid_t, _ hindrance: inout Hindrance, within microseconds: UInt64) {
    guard hindrance.holds > 0, heldSince == nil, hindrance.next.hasPassed, isKeptWaiting(tid, hindrance) else { return }
    hindrance.holds -= 1
    hindrance.next = Deadline(afterMicroseconds: Hindrance.patience)
    let limit = Deadline(afterMicroseconds: min(microseconds, Hindrance.longest))
    let began = Deadline.now
    do throws(CodedError) {
      let world = try stopWorld(until: limit, urgently: true, except: tid)
      receipt?.worldRunsInParts()
      holdWorld(since: world.began, until: limit)
    } catch {
      // The threads that were stopped go on, and the call waits as it did before.
      borrowPause = max(borrowPause, Deadline.now - began)
    }
  }

  private func isKeptWaiting(_ tid: pid_t, _ hindrance: Hindrance) -> Bool {
    let process = pid
    let threads = ThreadList.read(of: process)
    let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    // More could not all be stopped in that time. An owner that sleeps would not come out in time either.
    guard threads.count <= 64 else { return false }
    if let owner = awaitedOwner(tid) { return ThreadList.state(of: owner, in: pid) != UInt8(ascii: "S") }
    guard let before = hindrance.usageBefore, let usage = ThreadList.usage(of: tid, in: pid),
      Deadline.now - hindrance.began >= Hindrance.patience * 1000 + (usage - min(usage, before))
    else { return false }
    let wanting = threads.filter { ThreadList.state(of: $0, in: process) == UInt8(ascii: "R") }
    return wanting.contains(tid) && wanting.count > processors && wanting.count <= 4 * processors
  }

  /// In a held world: should the borrowed thread wait for a lock, its owner goes on until it has woken the next one. The hold is
  /// prolonged by what the call may take with the lock.
  mutating func leadOwner(awaitedBy tid: pid_t) {
    guard heldSince != nil, let lock = ThreadList.awaitedFutex(of: tid, in: pid), let owner = owner(of: lock, but: tid),
      indexes[owner].map({ tracees[$0].state == .stopped }) == true
    else { return }
    let deadline = Deadline(afterMicroseconds: min(2000, holdLimit.remainingMicroseconds))
    markContended(lock, until: deadline)
    guard let isOut = try? lead(owner, outOf: lock, until: deadline), isOut else { return }
    heldUntil = Deadline(afterMicroseconds: min(1000, holdLimit.remainingMicroseconds))
  }

  /// The owner wakes somebody only if the lock's word is 2. It is 1 when one of those that we stopped had just been woken: it comes
  /// to set that again, behind the borrowed thread in the queue.
  private mutating func markContended(_ lock: UInt64, until deadline: Deadline) {
    let isMarked = { [memory] in (try? memory.load(lock, as: UInt32.self)) != Futex.lockedUncontended }
    guard !isMarked(), let waiter = stoppedThreads.first(where: { registers(of: $0)?.awaits(lock) == true }) else { return }
    letGoOn(waiter)
    while !isMarked() && !deadline.hasPassed { usleep(20) }
  }

  /// All that do not wait for the same lock: what the owner waits for itself is in their hands. Whoever has the loader's lock
  /// allocates memory, too.
  private mutating func letOthersGoOn(than owner: pid_t, _ lock: UInt64) {
    for other in stoppedThreads where other != owner && registers(of: other)?.awaits(lock) != true { letGoOn(other) }
  }

  private mutating func letGoOn(_ tid: pid_t) {
    if tid == rightHolder { return resume(tid) }
    guard let index = indexes[tid] else { return }
    TraceSession.detach(tracees[index], memory)
    remove(index)
  }

  private func awaitedOwner(_ tid: pid_t) -> pid_t? {
    ThreadList.awaitedFutex(of: tid, in: pid).flatMap { owner(of: $0, but: tid) }
  }

  /// The thread that has a mutex. What is no mutex has something else there, hardly ever the number of a thread.
  private func owner(of lock: UInt64, but tid: pid_t) -> pid_t? {
    guard let owner = try? memory.load(lock &+ Futex.mutexOwner, as: pid_t.self), owner != tid, ThreadList.read(of: pid).contains(owner) else { return nil }
    return owner
  }

  /// A stopped thread goes on until it has called FUTEX_WAKE for the lock, and stands at the end of that call. False when it does
  /// not come there in time; then it runs.
  private mutating func lead(_ tid: pid_t, outOf lock: UInt64, until deadline: Deadline) throws(CodedError) -> Bool {
    guard let index = indexes[tid], tracees[index].state == .stopped else { return false }
    try commitRegisters(of: tid)
    tracees[index].compare(memory)
    tracees[index].shot = nil
    tracees[index].state = .seized
    ul_watchdog_start(UInt32(clamping: deadline.remainingMicroseconds))
    defer { ul_watchdog_stop() }
    var signal: Int32 = 0
    var isWaking = false
    while true {
      let isLate = deadline.hasPassed
      let result = isLate ? ul_continue(tid, signal) : ul_continue_to_system_call(tid, signal)
      guard !isLate, result >= 0, let status = awaitLed(tid, outOf: lock, until: deadline) else { break }
      // Others may have been let go meanwhile, which moves it in the list.
      guard let index = indexes[tid] else { return false }
      guard status.kind == UL_WAIT_STOPPED, status.event == UL_EVENT_SYSTEM_CALL || status.event == 0 else {
        try awaitStop(index, status, until: deadline)
        return false
      }
      signal = status.event == 0 ? status.signal : 0
      guard status.event == UL_EVENT_SYSTEM_CALL else {
        ul_spare_interruption(tid, signal)
        continue
      }
      var call = ul_system_call()
      ul_get_system_call(tid, &call)
      if call.is_entry != 0 { isWaking = call.wakes(lock) }
      if call.is_exit != 0 && isWaking { return standAtSystemCall(index) }
    }
    if let index = indexes[tid] { tracees[index].state = .attended }
    ul_attend(tid, Int32(UL_ATTEND_SERVE))
    return false
  }

  /// What the led thread comes to; nil: nothing in time. SIGCHLD tells: to sleep for a fixed time at each of its system calls
  /// would take longer than all of them.
  private mutating func awaitLed(_ tid: pid_t, outOf lock: UInt64, until deadline: Deadline) -> ul_wait_status? {
    var status = ul_wait_status()
    while true {
      let result = ul_wait(tid, 0, &status)
      if result != 0 { return result > 0 ? status : nil }
      if deadline.hasPassed { return nil }
      let began = Deadline.now
      ul_attend_sleep(100)
      if Deadline.now - began > 90_000, ThreadList.awaitedFutex(of: tid, in: pid) != nil { letOthersGoOn(than: tid, lock) }
    }
  }

  private mutating func standAtSystemCall(_ index: Int) -> Bool {
    guard ul_get_registers(tracees[index].tid, &tracees[index].registers.raw) >= 0 else { return false }
    tracees[index].state = .stopped
    tracees[index].signal = 0
    tracees[index].registersChanged = false
    tracees[index].stoppedAt = Deadline.now
    return true
  }
}
