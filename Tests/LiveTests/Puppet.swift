import CLinux
import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

/// A `puppet` program with one of the prepared libraries, whose puppet thread is put at any instruction of a detour, as if a
/// call of the function had come that far.
final class Puppet {
  let target: Target
  let tid: pid_t
  let entry: UInt64
  let pointOffset: UInt32
  let second: Container
  let third: Container
  private var landed: Int32 = 0

  /// - Parameter form: which library of Tests/targets; its functions differ in the bytes at the entry.
  init(_ form: String = "number", callers: Int = 0) throws {
    target = try Target("puppet", Targets.path("lib\(form).so.0"), String(callers))
    tid = try target.integer("puppet_tid")
    second = try Targets.container(form + "_2")
    third = try Targets.container(form + "_3")
    let unit = try #require(try target.plan([second]).applies.first?.units.first)
    entry = unit.entry
    pointOffset = unit.pointOffset
  }

  var point: UInt64 { entry + UInt64(pointOffset) }
  var padding: UInt64 { entry - UInt64(EntryForm.padding) }
  var pointBytes: [UInt8] { get throws { try target.process.memory.read(point, count: 2) } }
  var form: EntryForm { get throws { EntryForm(try target.entryBytes(entry)) } }

  /// Stops the puppet in an operation's session and stands it at `place`, with a caller's stack. `above` are words that lie
  /// above the return address: what the caller happens to have there.
  func stand(at place: UInt64, in operation: PatchOperation, above: [UInt64] = [], returnTo: UInt64? = nil) throws {
    let session = try #require(operation.session)
    try session.trace.seize(tid)
    let isStopped = try session.trace.stop(tid, until: .patient)
    try #require(isStopped)
    let found = session.trace.registers(of: tid)
    var registers = try #require(found)
    let stack = (registers.stackPointer - 8192) & ~15
    let home = try target.address("landing_return")
    let words = [returnTo ?? home] + above + [UInt64](repeating: 0, count: 8)
    // At a function's entry rsp + 8 is 16-byte aligned (psABI 3.2.2).
    try target.process.memory.write(words.withUnsafeBytes { Array($0) }, to: stack - 8)
    registers.raw.rsp = stack - 8
    registers.raw.rip = place
    registers.raw.rax = 77
    // What a stub has in r11 before its first instruction is anybody's.
    registers.raw.r11 = 0
    registers.raw.orig_rax = UInt64.max
    registers.raw.eflags = 0x202
    session.trace.setRegisters(registers, of: tid)
    landed = try target.integer("landed_count")
  }

  /// Lets the stopped puppet receive SIGUSR1 first: `place` is then the pc saved in the handler's frame.
  func interrupt(in operation: PatchOperation) throws {
    let session = try #require(operation.session)
    let entered = try target.integer("handler_entered")
    try #require(tgkill(target.pid, tid, SIGUSR1) == 0)
    session.trace.resume(tid)
    try target.wait("the handler was not entered") { try target.integer("handler_entered") == entered + 1 }
  }

  /// Lets the handler return to where the puppet stood.
  func release() throws { try target.set("handler_go", try target.integer("handler_entered")) }

  /// What the function returned to the puppet.
  func landing() throws -> Int32 {
    try target.wait("the puppet did not come back") { try target.integer("landed_count") == landed + 1 }
    return try target.integer("landed_value")
  }
}

/// Instructions of a selection stub (runtime/arch/x86_64/pool.S) at which a thread can stand.
let stubInstructions: [UInt64] = [0, 4, 11, 15, 18, 26, 33, 35, 41]
let entryForms = ["number", "number_endbr", "number_wide", "number_wide_endbr", "number_two_byte"]
