import Diagnostics
import Glibc
import Tracing

/// For calls that run while every other thread stands still, as SUSE's runtime expects it.
extension TargetProcess {
  /// Fails with `process.traced`, `process.stopped`, `process.shadow_stack`, `process.frozen`: nothing can be called in such a
  /// process.
  public func checkTraceable() throws(CodedError) { try checkTraceable(facts()) }

  /// The same by facts that were read just now.
  public func checkTraceable(_ facts: ProcessFacts) throws(CodedError) {
    if facts.tracer != 0 { throw .traced(pid, by: facts.tracer) }
    guard facts.state != "T" else {
      throw CodedError(.processStopped, "process \(pid) (\(facts.comm)) is stopped", data: ["pid": .integer(Int64(pid))])
    }
    if facts.usesShadowStack {
      throw CodedError(.processShadowStack, "process \(pid) runs with shadow stacks", data: ["pid": .integer(Int64(pid))])
    }
    try checkThawed()
  }

  /// Reads before a stop what is needed in it: where the allocator and the loader are, and unwind information of what threads
  /// mostly sleep in.
  public func prepareForQuiet() throws(CodedError) {
    _ = try hazards()
    rehearse([])
  }

  /// Brings a stopped world to where nobody may hold a lock of the allocator or the loader: nobody would release it.
  ///
  /// Threads inside run on for some microseconds while those outside stand still, until each was caught outside. So nobody
  /// new gets in, and what is waited for inside is held by somebody who runs: with any number of threads that do nothing but
  /// allocate it takes the time in which each of them comes out once. Fails with `carrier.none` at the deadline.
  public func quieten(_ session: inout TraceSession, until deadline: Deadline) throws(CodedError) {
    let search = try quietSearch()
    var suspects = session.stoppedThreads
    var window = TargetProcess.shortestRun
    while true {
      var inside: [CarrierRefusal] = []
      var places: [(pid_t, UInt64, UInt64)] = []
      for tid in suspects {
        guard let registers = session.registers(of: tid), let reason = search.lockReason(tid, registers) else { continue }
        inside.append(CarrierRefusal(tid: tid, reason: reason))
        places.append((tid, registers.programCounter, registers.stackPointer))
      }
      if inside.isEmpty {
        // Whoever was inside may have started threads.
        let newcomers = try session.stopNewcomers(until: deadline)
        if newcomers.isEmpty { return }
        suspects = newcomers
        continue
      }
      if deadline.hasPassed { throw search.noCarrier(inside) }
      suspects = inside.map(\.tid)
      try session.letRun(suspects, microseconds: window, until: Deadline(afterMicroseconds: 100_000))
      let moved = places.contains { tid, pc, sp in
        session.registers(of: tid).map { $0.programCounter != pc || $0.stackPointer != sp } ?? true
      }
      // Of another length each time: a loop must not be met at the same place again and again.
      window = moved ? TargetProcess.shortestRun + UInt64.random(in: 0...20) : min(window * 2, TargetProcess.longestRun)
    }
  }

  private static let shortestRun: UInt64 = 2
  private static let longestRun: UInt64 = 2000

  /// One of the stopped threads that can be borrowed. Fails with `carrier.none`.
  public func chooseCarrier(
    _ session: inout TraceSession, among stopped: [pid_t], until deadline: Deadline, seccomp: SeccompPolicy = .check
  ) throws(CodedError) -> pid_t {
    let search = try quietSearch(seccomp)
    var refusals: [CarrierRefusal] = []
    for tid in stopped {
      guard let reason = try search.tryCarrier(&session, tid, until: deadline) else { return tid }
      refusals.append(CarrierRefusal(tid: tid, reason: reason))
    }
    throw search.noCarrier(refusals)
  }

  private func quietSearch(_ seccomp: SeccompPolicy = .check) throws(CodedError) -> CarrierSearch {
    let nowhere = CallSite(entry: 0, abandon: 0, text: 0..<0, stack: 0..<0, mailbox: 0)
    return CarrierSearch(process: self, site: nowhere, hazards: try hazards(), unwinder: unwinder(), seccomp: seccomp)
  }
}
