import Diagnostics
import ELF
import Glibc
import Tracing

extension TargetProcess {
  /// Calls a function in a process that has no runtime: on a thread that can safely be borrowed, through libc's own text.
  ///
  /// The result is told by way of eight bytes behind libc's data, in the part of its last page that belongs to no variable.
  public func bareCall(
    _ function: UInt64, _ arguments: [UInt64], until deadline: Deadline, only thread: pid_t? = nil
  ) throws(CodedError) -> (value: UInt64, carrier: pid_t, nanoseconds: UInt64) {
    try checkTraceable()
    let site = try bareCallSite()
    var trace = try TraceSession(memory)
    trace.errnoOffset = errnoOffset
    trace.receipt?.errnoOffset = errnoOffset
    do {
      // No call of ours can be in progress here: there is no runtime to run it.
      let nowhere = CallSite(entry: 0, abandon: 0, text: 0..<0, stack: 0..<0, mailbox: 0)
      let tid = try borrowCarrier(&trace, site: nowhere, until: deadline, only: thread)
      let began = trace.stopTime(of: tid) ?? Deadline.now
      let value = try trace.bareCall(on: tid, site, function: function, arguments: arguments, until: deadline)
      let elapsed = Deadline.now - began
      trace.end()
      return (value, tid, elapsed)
    } catch {
      trace.end()
      throw error
    }
  }

  /// What bare calls go through in this process. Fails with `process.foreign_loader` when libc's text lacks it.
  public func bareCallSite() throws(CodedError) -> BareCallSite {
    func missing(_ what: String) -> CodedError {
      CodedError(
        .processForeignLoader, "process \(pid): \(what), so nothing can be called in it",
        hint: "start the program with libpulp.so preloaded", data: ["pid": .integer(Int64(pid))])
    }
    guard let libc = try libraries().first(where: { $0.name.hasPrefix("libc.so") || $0.name.hasPrefix("libc-2.") }) else {
      throw missing("glibc is not loaded")
    }
    let end = libc.image.writableRanges.map(\.upperBound).max() ?? 0
    let cell = (end + 7) & ~7
    // The kernel maps whole pages: what lies between the last variable and the end of its page is nobody's.
    guard end > 0, cell % 4096 != 0, cell % 4096 <= 4088, map.mapping(containing: cell)?.isWritable == true else {
      throw missing("libc has no spare room")
    }
    for range in libc.image.textRanges {
      let text = memory.readPrefix(range.lowerBound, count: Int(min(range.upperBound - range.lowerBound, 16 << 20)))
      if let site = BareCallSite(text: text, at: range.lowerBound, cell: cell) { return site }
    }
    throw missing("libc's text lacks what a call returns through")
  }
}
