import CLinux
import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

private let queuedSignal = __libc_current_sigrtmin()

extension Live {
  /// Signals reach the program once each and in their order, whatever we are doing.
  @Suite(.serialized) struct Signals {
    private func counter(_ target: Target, _ name: String) throws -> Int64 {
      try target.process.memory.load(try target.address(name), as: Int64.self)
    }

    /// Waits for a storm to have been sent and handled, and looks for a lost, doubled or overtaken one.
    private func check(_ target: Target, _ storm: LaunchedProcess, _ count: Int64) throws {
      try target.wait("the storm did not end") { storm.wait(seconds: 0) == .code(0) }
      try target.wait("a signal was lost") { try counter(target, "queued") >= count }
      usleep(2000)
      #expect(try counter(target, "queued") == count, "none twice")
      #expect(try counter(target, "sum") == count * (count + 1) / 2)
      #expect(try counter(target, "disorder") == 0)
    }

    private func storm(_ target: Target, _ count: Int, every microseconds: Int) throws -> LaunchedProcess {
      try LaunchedProcess(LaunchRequest([Targets.path("sigstorm"), String(target.pid), String(count), String(microseconds)]))
    }

    /// The storm may be over before an operation begins: then there is another one.
    private func untilEnough(_ body: () throws -> Bool) throws {
      for _ in 0..<50 { if try body() { return } }
      Issue.record("every storm was over too soon")
    }

    @Test func queuedSignalsCrossAWholeOperation() throws { try untilEnough { try crossAnOperation() } }

    private func crossAnOperation() throws -> Bool {
      let target = try Target("signals")
      let slow = try Targets.container("dozens_late")
      let storm = try storm(target, 4000, every: 50)
      var operations = 0
      while storm.wait(seconds: 0) == nil {
        // The only thread is the carrier, 200 ms long; then the operation is staged and this test sleeps; then two stops.
        let operation = try target.stage([slow])
        usleep(20_000)
        try target.insistentSwitch(operation)
        try operation.patientSettle()
        try target.change([], reverting: [slow])
        operations += 1
      }
      try check(target, storm, 4000)
      #expect(target.isUnharmed)
      return operations > 0
    }

    @Test func queuedSignalsCrossWorldStops() throws { try untilEnough { try crossWorldStops() } }

    private func crossWorldStops() throws -> Bool {
      let target = try Target("signals")
      let storm = try storm(target, 3000, every: 20)
      var stops = 0
      while storm.wait(seconds: 0) == nil {
        var session = try TraceSession(target.process.memory)
        for _ in 0..<10 {
          _ = try session.stopWorld(until: .patient)
          session.resumeWorld()
          stops += 1
        }
        session.end()
      }
      try check(target, storm, 3000)
      return stops > 20
    }

    /// While an operation is staged its right holder is seized, and stops at each signal until that is served.
    @Test func aThousandPlainSignalsAreServedWhileStaged() throws {
      let target = try Target("signals")
      let operation = try target.stage([try Targets.container("dozens_13")])
      for number in 1...1000 {
        kill(target.pid, SIGUSR1)
        try target.wait("signal \(number) was not handled") { try counter(target, "usr1") == Int64(number) }
      }
      _ = try operation.abort(timeout: patienceMicroseconds)
      #expect(try counter(target, "usr1") == 1000)
    }

    /// SIGCHLD goes to the process, and the kernel picks any thread for it. Here the tracer's own thread is asleep with it
    /// blocked, so another one must pass it on.
    @Test func theAttendantIsHeardOnOtherThreads() throws {
      let target = try Target("signals")
      let operation = try target.stage([try Targets.container("dozens_13")])
      var child = sigset_t()
      var before = sigset_t()
      sigemptyset(&child)
      sigaddset(&child, SIGCHLD)
      for number in 1...50 {
        pthread_sigmask(SIG_BLOCK, &child, &before)
        kill(target.pid, SIGUSR1)
        usleep(500)
        pthread_sigmask(SIG_SETMASK, &before, nil)
        try target.wait("signal \(number) was not handled") { try counter(target, "usr1") == Int64(number) }
      }
      _ = try operation.abort(timeout: patienceMicroseconds)
    }
  }

  /// Waits that answer EINTR to a tracer's stop go on, and those that a signal ends get their EINTR.
  @Suite(.serialized) struct Waits {
    static let kinds = ["epoll_wait", "epoll_pwait2", "semtimedop", "rt_sigtimedwait", "io_getevents", "recv", "accept", "epoll_pwait"]
    /// Their system calls, asm/unistd_64.h.
    static let numbers: [UInt64] = [232, 441, 220, 128, 208, 45, 43, 281]

    private func counts(_ target: Target, _ name: String) throws -> [Int32] {
      try Self.kinds.indices.map { try target.integer(name, $0) }
    }

    private static let none = [Int32](repeating: 0, count: kinds.count)

    @Test func aStopIsNotSeen() throws {
      let target = try Target("waits")
      for _ in 0..<60 {
        var session = try TraceSession(target.process.memory)
        _ = try session.stopWorld(until: .patient)
        session.end()
        usleep(5000)
      }
      let ended = try counts(target, "ended")
      try target.wait("a wait does not end") { try zip(counts(target, "ended"), ended).allSatisfy { $0 > $1 } }
      #expect(try counts(target, "interrupted") == Self.none)
      #expect(try counts(target, "failed") == Self.none)
      #expect(try counts(target, "early") == Self.none)
      try target.finish()
    }

    /// Within one session a timed wait ends when it would have ended, not 400 ms after the last stop; and the next wait of the
    /// same thread has its whole time.
    @Test func timeThatWasWaitedIsNotWaitedAgain() throws {
      let target = try Target("waits")
      var session = try TraceSession(target.process.memory)
      let before = try counts(target, "ended")
      // 1.5 s: at least two waits of 400 ms, where the first may wait once again from its first stop on. Waits that began anew at
      // each stop would never end.
      var after = before
      var rounds = 0
      let deadline = Deadline.patient
      repeat {
        _ = try session.stopWorld(until: .patient)
        session.resumeWorld()
        usleep(60_000)
        after = try counts(target, "ended")
        rounds += 1
      } while rounds < 25 || [0, 7].contains(where: { after[$0] - before[$0] < 2 }) && !deadline.hasPassed
      session.end()
      for kind in [0, 7] { #expect(after[kind] - before[kind] >= 2, "\(Self.kinds[kind])") }
      #expect(try counts(target, "early") == Self.none)
      #expect(try counts(target, "interrupted") == Self.none)
      try target.finish()
    }

    /// A handler that runs when the thread goes on has interrupted the wait: the program may have been waiting for just that.
    /// `epoll_pwait` waits with a mask of its own, outside of which the signal is blocked.
    @Test(arguments: kinds.indices) func aSignalDuringTheStopIsOwedItsInterruption(kind: Int) throws {
      let target = try Target("waits")
      let tid = try target.integer("tids", kind)
      var session = try TraceSession(target.process.memory)
      for round in 1...3 {
        // In the wait, not on its way there or back.
        try target.wait("it does not wait") {
          _ = try session.stopWorld(until: .patient)
          let registers = try registers(of: tid, in: session).raw
          let result = Int64(bitPattern: registers.rax)
          // <errno.h>, and the kernel's <linux/errno.h>: EINTR and ERESTARTSYS to ERESTART_RESTARTBLOCK
          let isWaiting = registers.orig_rax == Self.numbers[kind] && (result == -4 || (-516 ... -512).contains(result))
          if !isWaiting { session.resumeWorld() }
          return isWaiting
        }
        #expect(tgkill(target.pid, tid, SIGUSR1) == 0)
        session.resumeWorld()
        try target.wait("no EINTR in \(Self.kinds[kind])") { try target.integer("interrupted", kind) == Int32(round) }
        #expect(try target.integer("handled", kind) == Int32(round))
      }
      session.end()
      #expect(try counts(target, "interrupted").reduce(0, +) == 3)
      #expect(try counts(target, "early") == Self.none)
      try target.finish()
    }
  }

  @Suite(.serialized) struct WorldStops {
    @Test func threadsThatComeAndGoAreAllStopped() throws {
      let target = try Target("brood")
      for _ in 0..<40 {
        var session = try TraceSession(target.process.memory)
        let world = try session.stopWorld(until: .patient)
        let states = target.states()
        // A thread that is just ending may still be listed.
        #expect(states.allSatisfy { "tXZ".contains($0) } && states.count > 60 && world.threadCount > 60)
        session.end()
      }
      #expect(target.isUnharmed)
      let born = try target.integer("born")
      try target.wait("no thread is born any more") { try target.integer("born") > born + 100 }
      #expect(try target.integer("failures") == 0)
    }

    @Test func aStoppedProgramIsRefusedAndStaysStopped() throws {
      let target = try Target("signals")
      let patch = try Targets.container("dozens_13")
      let plan = try target.plan([patch])
      kill(target.pid, SIGSTOP)
      try target.wait("it does not stop") { target.states() == ["T"] }
      #expect(failure { _ = try PatchOperation.stage(plan, target.runtime) } == .processStopped)
      // Stopped between our look at it and the stop.
      var session = try TraceSession(target.process.memory)
      do {
        _ = try session.stopWorld(until: .patient)
        Issue.record("a group-stop was taken for ours")
      } catch { #expect(error.code == .processStopped) }
      session.end()
      try target.wait("it does not stay stopped") { target.states() == ["T"] }
      usleep(5000)
      #expect(target.states() == ["T"])
      kill(target.pid, SIGCONT)
      #expect(try target.ask("dozen") == "12")
      try target.change([patch])
      #expect(try target.ask("dozen") == "13")
    }

    /// A group-stop that comes while an operation is staged is the program's own affair, and SIGCONT ends it.
    @Test func aStopWhileStagedIsLeftAlone() throws {
      let target = try Target("signals")
      let operation = try target.stage([try Targets.container("dozens_13")])
      kill(target.pid, SIGSTOP)
      try target.wait("it does not stop") { target.states().allSatisfy { $0 == "T" || $0 == "t" } }
      #expect(failure { _ = try operation.performSwitch() } == .processStopped)
      kill(target.pid, SIGCONT)
      #expect(try target.ask("dozen") == "12")
      try target.insistentSwitch(operation)
      try operation.patientSettle()
      #expect(try target.ask("dozen") == "13")
      #expect(target.isUnharmed)
    }

    @Test func aDebuggedProgramIsRefused() throws {
      let target = try Target("signals")
      let plan = try target.plan([try Targets.container("dozens_13")])
      let debugger = try LaunchedProcess(LaunchRequest([Targets.path("tracer"), String(target.pid)]))
      try target.wait("nobody traces it") { try target.process.facts().tracer == debugger.pid }
      #expect(failure { _ = try PatchOperation.stage(plan, target.runtime) } == .processTraced)
      #expect(failure { _ = try TraceSession(target.process.memory) } == .processTraced)
      debugger.close()
    }

    /// The right moves to another thread when the leader has gone.
    @Test func aProgramWithoutLeaderIsPatched() throws {
      let target = try Target("leader_exit")
      try target.wait("the leader stays") { ThreadList.state(of: target.pid, in: target.pid) == UInt8(ascii: "Z") }
      try target.change([try Targets.container("dozens_13")])
      #expect(try target.ask("dozen") == "13")
    }
  }
}
