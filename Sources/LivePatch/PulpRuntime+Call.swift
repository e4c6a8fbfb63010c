import CPulpABI
import Diagnostics
import Glibc
import Inferior
import Tracing

extension PulpRuntime {
  /// Calls any function of the process on a thread that can safely be borrowed, and waits for its result.
  ///
  /// - Parameters:
  ///   - arguments: at most six integer or pointer arguments (psABI 3.2.3).
  ///   - timeout: microseconds for finding a carrier and for the call together.
  ///   - thread: only this thread may be borrowed.
  ///   - check: is shown the receipt, if one is wanted.
  public func call(
    _ function: UInt64, _ arguments: [UInt64], timeout: UInt64, thread: pid_t? = nil,
    check: (Receipt?) throws(CodedError) -> Void = { _ in }
  ) throws(CodedError) -> (value: UInt64, carrier: pid_t, nanoseconds: UInt64) {
    let session = try ChangeSession(self)
    let answer = try session.call(function, arguments, until: Deadline(afterMicroseconds: timeout), on: thread, callee: .foreign)
    try check(session.receipt)
    return (answer.value, answer.carrier, answer.nanoseconds)
  }

  /// The state of the operation journal in a word: `idle`, `staging`, `staged`, `arming`, `committed`, `settling`.
  public func operationState() throws(CodedError) -> (name: String, tool: UInt64, isCopy: Bool) {
    let (operation, hasLeftovers) = try operationAndLeftovers()
    let isCopy = operation.owner_pid != process.identity.pid || operation.owner_start != process.identity.startTime
    let names = [0: "idle", 1: "staging", 2: "staged", 3: "arming", 5: "settling"]
    guard var name = names[Int(operation.state)] else { throw corrupt("its operation has state \(operation.state)") }
    let isCommitted = try universe() == operation.universe
    if name == "arming" && isCommitted { name = "committed" }
    // A carrier that failed leaves containers that were never in force: that is unfinished, too.
    let hasFiles = try hasMemoryFiles()
    if name == "idle" && (hasLeftovers || hasFiles) { name = "leftover" }
    return (name, operation.tool_pid, isCopy && operation.owner_pid != 0)
  }

  /// Read until nothing changed in between: the carrier of a dead tool may be loading just now, and what it loads would look
  /// like something that an earlier operation left behind.
  private func operationAndLeftovers() throws(CodedError) -> (pulp_operation, Bool) {
    var operation = try self.operation()
    var attempt = 0
    while true {
      let hasLeftovers = try leftoverPatches(of: operation).isEmpty == false
      let again = try self.operation()
      let isSame = again.generation == operation.generation && again.state == operation.state && again.token == operation.token
      if isSame || attempt > 50 { return (again, hasLeftovers) }
      operation = again
      attempt += 1
    }
  }
}

/// A stopped process, for looking around: registers and stacks of all threads, which go on when `body` returns.
public func withWorldStopped<Result>(
  _ process: TargetProcess, timeout: UInt64 = 250_000, _ body: ([StoppedThread]) throws -> Result
) throws -> (result: Result, nanoseconds: UInt64) {
  let facts = try process.facts()
  if facts.tracer != 0 { throw CodedError.traced(process.pid, by: facts.tracer) }
  process.refresh()
  let unwinder = process.unwinder()
  var trace = try TraceSession(process.memory)
  let world = try trace.stopWorld(until: Deadline(afterMicroseconds: timeout))
  let threads = trace.stoppedThreads.sorted().map { tid in
    StoppedThread(tid: tid, registers: trace.registers(of: tid) ?? Registers(), unwinder: unwinder)
  }
  defer { for thread in threads { thread.expire() } }
  do {
    let result = try body(threads)
    trace.resumeWorld(.release)
    return (result, Deadline.now - world.began)
  } catch {
    trace.resumeWorld(.release)
    throw error
  }
}

/// A thread of a stopped process. Valid only until the process goes on.
public final class StoppedThread {
  public let tid: pid_t
  private var view: (registers: Registers, unwinder: StackUnwinder)?

  init(tid: pid_t, registers: Registers, unwinder: StackUnwinder) {
    self.tid = tid
    view = (registers, unwinder)
  }

  func expire() { view = nil }

  private func valid() throws(CodedError) -> (registers: Registers, unwinder: StackUnwinder) {
    guard let view else {
      throw CodedError(.handleClosed, "thread \(tid) was only stopped inside p:stopped", hint: "copy what you need while it is stopped")
    }
    return view
  }

  public func registers() throws(CodedError) -> Registers { try valid().registers }

  public func backtrace(limit: Int) throws(CodedError) -> StackTrace {
    let view = try valid()
    return view.unwinder.unwind(tid, view.registers, limit: limit)
  }
}
