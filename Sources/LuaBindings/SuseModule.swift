import Diagnostics
import ELF
import Glibc
import LivePatch
import LuaBridge

/// `ulp.SuseRuntime`: SUSE's libpulp in a process. Its primitives; the conversation is Lua's affair.
enum SuseModule {
  static func install(in state: LuaState) {
    state.define(SuseHandle.self, "ulp.SuseRuntime") { runtime in
      runtime.property("kind") { _ in "suse" }
      runtime.method("version") { handle, _ in try handle.open().version().map { printable($0) } }
      runtime.method("messages") { handle, _ in try handle.open().messages() }
      runtime.method("error_state") { handle, _ in Int64(try handle.open().errorState()) }
      runtime.method("state") { handle, _ in try handle.open().isPending() ? "queued" : "idle" }
      runtime.method("patches") { handle, _ in
        let (universe, patches, lost) = try handle.open().inspectedJournal()
        return patches.map { patch in RuntimeModule.record(patch, universe, lost.first { $0.patch.address == patch.address }?.reason) }
      }
      runtime.method("queue") { handle, _ in try handle.open().queue().instructions.map(record) }
      runtime.method("recover") { handle, _ in
        let outcome = try handle.open().settle()
        return [
          "found": outcome.action == .none ? "idle" : "queued", "action": outcome.action.rawValue, "writes": Int64(outcome.writeCount),
          "state": outcome.action == .none ? "idle" : "queued", "what": outcome.text,
        ] as LuaRecord
      }
      // Its counter is private; asking for it would take a stop.
      runtime.method("universe") { _, _ -> Int64? in nil }
      runtime.method("forget", "ids") { handle, arguments in
        let ids = try RuntimeModule.ids(arguments)
        return try handle.open().forget { ids.contains($0.id) }.map { lost -> LuaRecord in
          ["id": hexadecimal(lost.patch.id), "path": printable(lost.patch.path), "state": "retired", "lost": lost.reason]
        }
      }
      runtime.method("set_patchable", "enabled") { handle, arguments in
        try handle.open().setPatchable(try arguments.boolean(1))
      }
      runtime.method("enter", "entry", "bytes", "options") { handle, arguments in try enter(try handle.open(), handle.process, arguments) }
      runtime.description { "SUSE's libpulp in process \($0.process.pid)" }
    }
  }

  private static func record(_ instruction: InstructionQueue.Instruction) -> LuaRecord {
    switch instruction {
    case .print(let text): ["kind": "print", "text": printable(text)]
    case .write(let address, let bytes): ["kind": "write", "address": address, "bytes": LuaBytes(bytes)]
    }
  }

  private static func addresses(_ fields: LuaFields) throws(CodedError) -> [UInt64] {
    var found: [UInt64] = []
    for position in 1..<(fields.count + 1) {
      if let address = try fields.integer(at: position) { found.append(UInt64(bitPattern: address)) }
    }
    return found
  }

  private static func enter(
    _ runtime: SuseRuntime, _ process: ProcessHandle, _ arguments: borrowing LuaArguments
  ) throws(CodedError) -> LuaRecord {
    let fields = try arguments.options(3, ["timeout", "seccomp", "max_pause", "entries", "check"])
    var options = EnterOptions()
    options.seccomp = try RuntimeModule.seccomp(fields)
    if let timeout = try fields.duration("timeout") { options.timeout = UInt64(timeout / 1000) }
    if let longest = try fields.duration("max_pause") {
      options.maxPause = UInt64(max(longest, 1000) / 1000)
      options.longestHold = min(options.longestHold, options.maxPause!)
    }
    options.entries = try fields.withTable("entries") { table throws(CodedError) in try addresses(table) }
options.checksStack = try fields.choice("check", ["stack", "immediate"]) == "stack"
    let outcome = try runtime.enter(try arguments.string(1), arguments.isAbsent(2) ? [] : try arguments.bytes(2), options)
    var record: LuaRecord = [
      "pause_us": RuntimeModule.microseconds(outcome.pauseNanoseconds), "writes": Int64(outcome.writeCount), "prints": outcome.prints.map { printable($0) },
    ]
    if let value = outcome.value { record.set("value", value) }
    if let receipt = outcome.receipt { record.set("receipt", RuntimeModule.receiptRecord(receipt)) }
    if !outcome.blockers.isEmpty {
      let target = try process.open()
      record.set("blockers", outcome.blockers.map { RuntimeModule.record($0, target) })
    }
    return record
  }
}
