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

  /// Fails with `carrier.none` when one of the stopped threads may hold a lock of the allocator or the loader: nobody would
  /// release it while the world stands still.
  public func checkNoneHolds(_ stopped: [(tid: pid_t, registers: Registers)]) throws(CodedError) {
    let search = try quietSearch()
    for (tid, registers) in stopped {
      guard let reason = search.lockReason(tid, registers) else { continue }
      throw search.noCarrier([CarrierRefusal(tid: tid, reason: reason)])
    }
  }

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
