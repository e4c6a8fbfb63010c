import Diagnostics
import Glibc
import LivePatch
import LuaBridge

/// `ulp.SuseRuntime`: SUSE's libpulp in a process. Its primitives; the conversation is Lua's affair.
enum SuseModule {
  static func install(in state: LuaState) {
    state.define(SuseHandle.self, "ulp.SuseRuntime") { runtime in
      runtime.property("kind") { _ in "suse" }
      runtime.method("version") { handle, _ in printable(try handle.open().version()) }
      runtime.method("messages") { handle, _ in try handle.open().messages() }
      runtime.method("error_state") { handle, _ in Int64(try handle.open().errorState()) }
      runtime.method("state") { handle, _ in try handle.open().queue().isEmpty ? "idle" : "queued" }
      runtime.method("patches") { handle, _ in try handle.open().appliedPatches().map { RuntimeModule.record($0, 1, nil) } }
      runtime.method("queue") { handle, _ in try handle.open().queue().instructions.map(record) }
      runtime.method("recover") { handle, _ in
        let writes = try handle.open().settleQueue()
        let action = writes == nil ? "none" : writes == 0 ? "discarded" : "finished"
        return ["found": writes == nil ? "idle" : "queued", "action": action, "writes": Int64(writes ?? 0)] as LuaRecord
      }
      // Its counter is private; asking for it would take a stop.
      runtime.method("universe") { _, _ -> Int64? in nil }
      runtime.method("forget") { _, _ in [LuaRecord]() }
      runtime.method("set_patchable", "enabled") { handle, arguments in
        try handle.open().setPatchable(try arguments.boolean(1))
      }
      runtime.method("enter", "entry", "bytes", "options", "leaving") { handle, arguments in try enter(try handle.open(), handle.process, arguments) }
      runtime.description { "SUSE's libpulp in process \($0.process.pid)" }
    }
  }

  private static func record(_ instruction: InstructionQueue.Instruction) -> LuaRecord {
    switch instruction {
    case .print(let text): ["kind": "print", "text": printable(text)]
    case .write(let address, let bytes): ["kind": "write", "address": address, "bytes": LuaBytes(bytes)]
    }
  }

  /// First and last+1 address of each range, one after the other.
  private static func ranges(_ fields: LuaFields) throws(CodedError) -> [Range<UInt64>] {
    var found: [Range<UInt64>] = []
    for position in stride(from: 1, to: fields.count, by: 2) {
      guard let first = try fields.integer(at: position), let last = try fields.integer(at: position + 1),
        UInt64(bitPattern: first) < UInt64(bitPattern: last)
      else { continue }
      found.append(UInt64(bitPattern: first)..<UInt64(bitPattern: last))
    }
    return found
  }

  private static func enter(
    _ runtime: SuseRuntime, _ process: ProcessHandle, _ arguments: borrowing LuaArguments
  ) throws(CodedError) -> LuaRecord {
    let fields = try arguments.options(3, ["timeout", "seccomp"])
    var options = EnterOptions()
    options.seccomp = try RuntimeModule.seccomp(fields)
    if let timeout = try fields.duration("timeout") { options.timeout = UInt64(timeout / 1000) }
    options.leaving = try arguments.isAbsent(4) ? [] : ranges(try arguments.table(4))
    let outcome = try runtime.enter(try arguments.string(1), arguments.isAbsent(2) ? [] : try arguments.bytes(2), options)
    var record: LuaRecord = [
      "pause_us": RuntimeModule.microseconds(outcome.pauseNanoseconds), "writes": Int64(outcome.writeCount), "prints": outcome.prints.map { printable($0) },
    ]
    if let value = outcome.value { record.set("value", value) }
    if !outcome.blockers.isEmpty {
      let target = try process.open()
      record.set("blockers", outcome.blockers.map { RuntimeModule.record($0, target) })
    }
    return record
  }
}
