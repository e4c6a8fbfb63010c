import CLinux
import Diagnostics
import ELF
import Glibc
import Inferior
import LivePatch
import LuaBridge
import Tracing

/// `ulp.Runtime` and `ulp.Operation`: the primitives that change a process. What to do with them is Lua's affair.
enum RuntimeModule {
  static func install(in state: LuaState, core: LuaModule) {
    state.define(RuntimeHandle.self, "ulp.Runtime") { runtime in
      defineReading(runtime)
      defineSteps(runtime)
      runtime.description { "Runtime of process \($0.process.pid)" }
    }
    state.define(PatchOperation.self, "ulp.Operation") { operation in
      operation.property("pid") { Int64($0.process.pid) }
      operation.property("phase") { $0.phase.rawValue }
      operation.property("universe") { $0.universe }
      operation.property("carrier_us") { microseconds($0.carrierNanoseconds) }
      operation.property("pause_us") { microseconds($0.pauseNanoseconds) }
      operation.property("settle_pause_us") { microseconds($0.settlePauseNanoseconds) }
      operation.property("receipt") { operation in operation.receipt.map(receiptRecord) }
      operation.description { "Operation on process \($0.process.pid) (\($0.phase.rawValue))" }
      operation.onClose { $0.close() }
    }
    state.define(Observation.self, "ulp.Observation") { observation in
      observation.method("finish") { observation, _ in receiptRecord(observation.finish()) }
      observation.description { _ in "Observation" }
    }
    SuseModule.install(in: state)
    ThreadView.install(in: state)
    installReceipts(core: core)
  }

  /// The members of `ulp.Process` that need the runtime.
  static func extend(_ process: LuaClass<ProcessHandle>) {
    process.query("runtime") { handle, _ in
      let target = try handle.open()
      target.refreshIfOld()
      return try runtime(handle, target)
    }
    process.method("observe") { handle, _ in Observation(try handle.open().memory).map(LuaBox.init) }
    process.method("switch", "operation", "options") { _, arguments in
      try performSwitch(try arguments.object(1, PatchOperation.self), try arguments.options(2, ["check", "max_pause", "settle"]))
    }
    process.method("call", "function", "arguments", "options") { handle, arguments in try call(handle, arguments) }
  }

  // MARK: - Receipts

  static func receiptRecord(_ receipt: Receipt) -> LuaRecord {
    var record: LuaRecord = [
      "stops": Int64(receipt.stops), "world_stops": Int64(receipt.worldStops), "calls": Int64(receipt.calls),
      "carriers_met": Int64(receipt.carriersMet), "differences": receipt.differences.map(differenceRecord),
      "others": receipt.others.map(differenceRecord),
    ]
    if let touches = receipt.touches { record.set("touches", Int64(touches)) }
    return record
  }

  private static func differenceRecord(_ difference: ReceiptDifference) -> LuaRecord {
    var record: LuaRecord = [
      "what": difference.what, "before": printable(difference.before), "after": printable(difference.after),
      "cause": difference.cause.rawValue,
    ]
    if difference.thread != 0 { record.set("thread", Int64(difference.thread)) }
    return record
  }

  static func installReceipts(core: LuaModule) {
    core.function("set_receipts", "on") { arguments in
      let was = ul_receipts() != 0
      ul_set_receipts(try arguments.boolean(1) ? 1 : 0)
      return was
    }
    core.function("hasten", "on") { arguments in ul_hasten(try arguments.boolean(1) ? 1 : 0) != 0 }
    core.function("receipts") { _ in
      let all = Receipt.all
      return [
        "stops": Int64(all.stops), "world_stops": Int64(all.worldStops), "calls": Int64(all.calls),
        "carriers_met": Int64(all.carriersMet), "differences": all.faults.map(differenceRecord),
      ] as LuaRecord
    }
  }

  /// What only we can have changed is an error. Asked where nothing is lost by it.
  private static func insistOnSame(_ receipt: Receipt?, _ pid: pid_t) throws(CodedError) {
    guard let first = receipt?.differences.first(where: { $0.cause == .ulpsh }) else { return }
    throw CodedError(
      .receiptDiffers, "process \(pid): \(first.what) was \(printable(first.before)), is \(printable(first.after))",
      data: ["pid": .integer(Int64(pid)), "what": .text(first.what)])
  }

  /// Our runtime in the process, or SUSE's.
  private static func runtime(_ handle: ProcessHandle, _ target: TargetProcess) throws(CodedError) -> LuaResults {
    switch try findRuntime(in: target) {
    case let ours as PulpRuntime: .values(LuaBox(RuntimeHandle(handle, ours)))
    case let theirs as SuseRuntime: .values(LuaBox(SuseHandle(handle, theirs)))
    default: throw CodedError(.internalError, "process \(target.pid) has a runtime of no known kind")
    }
  }

  static func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1000 }

  // MARK: - Reading

  private static func defineReading(_ runtime: LuaClass<RuntimeHandle>) {
    runtime.property("kind") { _ in "ulpsh" }
    runtime.method("universe") { handle, _ in try handle.open().universe() }
    runtime.method("messages") { handle, _ in try handle.open().messages() }
    runtime.method("error_state") { handle, _ in Int64(try handle.open().errorState()) }
    runtime.method("state") { handle, _ in
      let found = try handle.open().operationState()
      return LuaResults.values(found.name, found.tool)
    }
    runtime.method("patches") { handle, _ in
      let runtime = try handle.open()
      let (universe, patches, lost) = try runtime.inspectedJournal()
      return patches.map { patch in record(patch, universe, lost.first { $0.patch.address == patch.address }?.reason) }
    }
  }

  static func record(_ patch: LoadedPatch, _ universe: UInt64, _ lost: String?) -> LuaRecord {
    let isApplied = patch.isInForce(at: universe) && lost == nil
    var record: LuaRecord = [
      "id": hexadecimal(patch.id), "target": printable(patch.libraryName), "path": printable(patch.path),
      "applied": isApplied, "time": patch.time, "pinned": patch.isPinned, "deliver": patch.delivery.rawValue,
      "state": isApplied ? "applied" : lost != nil ? "lost" : patch.revertedUniverse != 0 ? "retired" : "staged",
      "first": patch.container.lowerBound, "last": patch.container.upperBound,
      "units": patch.units.map { unit -> LuaRecord in ["entry": unit.entry, "replacement": unit.replacement] },
    ]
    if let lost { record.set("lost", lost) }
    if let reason = patch.keepReason { record.set("keep", reason.text) }
    return record
  }

  // MARK: - Steps

  private static func defineSteps(_ runtime: LuaClass<RuntimeHandle>) {
    runtime.method("stage", "plan", "options") { handle, arguments in
      let plan = try arguments.object(1, PlanHandle.self).plan
      let options = try arguments.options(2, ["timeout", "seccomp", "thread", "max_carrier", "max_pause"])
      var limits = StageOptions()
      if let timeout = try options.duration("timeout") { limits.timeout = UInt64(timeout / 1000) }
      if let longest = try options.duration("max_carrier") { limits.maxCarrier = UInt64(longest / 1000) }
      if let longest = try options.duration("max_pause") { limits.maxPause = UInt64(max(1, longest / 1000)) }
      limits.seccomp = try seccomp(options)
      limits.carrier = try options.integer("thread").map { pid_t(truncatingIfNeeded: $0) }
      return LuaBox(try PatchOperation.stage(plan, try handle.open(), limits))
    }
    runtime.method("settle", "operation") { _, arguments in
      let operation = try arguments.object(1, PatchOperation.self)
      try operation.settle()
      return ["settled": true, "pause_us": microseconds(operation.settlePauseNanoseconds)] as LuaRecord
    }
    runtime.method("abort", "operation") { _, arguments in
      let operation = try arguments.object(1, PatchOperation.self)
      return try operation.abort().map { record($0, operation.process) }
    }
    runtime.method("unload", "operation", "options") { _, arguments in
      let operation = try arguments.object(1, PatchOperation.self)
      let options = try arguments.options(2, ["unload", "wait", "max_carrier"])
      let policy: UnloadPolicy = try options.boolean("unload").map { $0 ? .always : .never } ?? .automatic
      let longest = try options.duration("max_carrier").map { UInt64($0 / 1000) }
      return try operation.unload(policy, waits: try options.boolean("wait") ?? false, maxCarrier: longest)
        .map { record($0, operation.process) }
    }
    runtime.method("set_patchable", "enabled") { handle, arguments in
      try handle.open().setPatchable(try arguments.boolean(1))
    }
    runtime.method("forget", "ids", "options") { handle, arguments in
      let ids = try ids(arguments)
      let policy = try seccomp(arguments.options(2, ["seccomp"]))
      let runtime = try handle.open()
      return try runtime.forgetLost(seccomp: policy) { ids.contains($0.id) }.map { found -> LuaRecord in
        var record = record(found.outcome, runtime.process)
        record.set("lost", found.lost.reason)
        return record
      }
    }
    runtime.method("recover", "options") { handle, arguments in
      let options = try arguments.options(1, ["timeout", "seccomp", "max_pause", "max_carrier"])
      let timeout = try options.duration("timeout").map { UInt64($0 / 1000) } ?? 5_000_000
      let runtime = try handle.open()
      let found = try runtime.recover(
        timeout: timeout, seccomp: seccomp(options), maxPause: try options.duration("max_pause").map { UInt64(max(1, $0 / 1000)) },
        maxCarrier: try options.duration("max_carrier").map { UInt64($0 / 1000) })
      return record(found, runtime.process)
    }
  }

  /// The ids of a list that is the first argument.
  static func ids(_ arguments: borrowing LuaArguments) throws(CodedError) -> [[UInt8]] {
    let table = try arguments.table(1)
    var ids: [[UInt8]] = []
    for position in 1..<(table.count + 1) {
      if let text = try table.string(at: position) { ids.append(try PatchModule.patchID(text).bytes) }
    }
    return ids
  }

  static func seccomp(_ fields: LuaFields) throws(CodedError) -> SeccompPolicy {
    SeccompPolicy(rawValue: try fields.choice("seccomp", SeccompPolicy.allCases.map(\.rawValue)) ?? "") ?? .check
  }

  private static func record(_ outcome: UnloadOutcome, _ process: TargetProcess) -> LuaRecord {
    var record: LuaRecord = ["id": hexadecimal(outcome.id), "path": printable(outcome.path), "state": outcome.state.rawValue]
    if !outcome.blockers.isEmpty { record.set("blockers", outcome.blockers.prefix(64).map { self.record($0, process) }) }
    if let reason = outcome.reason { record.set("reason", reason) }
    return record
  }

  private static func record(_ outcome: RecoveryOutcome, _ process: TargetProcess) -> LuaRecord {
    let receipt = outcome.receipt
    var result: LuaRecord = [
      "pid": Int64(process.pid), "found": outcome.found.rawValue, "action": outcome.action.rawValue, "tool": outcome.tool,
      "state": outcome.found.rawValue, "what": outcome.text,
      "unloaded": outcome.unloaded.map { record($0, process) }, "pause_us": microseconds(outcome.pauseNanoseconds),
    ]
    if let receipt { result.set("receipt", receiptRecord(receipt)) }
    return result
  }

  private static func performSwitch(_ operation: PatchOperation, _ fields: LuaFields) throws(CodedError) -> LuaRecord {
    var options = SwitchOptions()
    if try fields.choice("check", ["stack", "immediate"]) == "immediate" { options.consistency = .immediate }
    if let limit = try fields.duration("max_pause") { options.maxPause = UInt64(max(1, limit / 1000)) }
    options.settles = try fields.boolean("settle") ?? false
    let outcome = try operation.performSwitch(options)
    var record: LuaRecord = [
      "switched": outcome.switched, "pause_us": microseconds(outcome.pauseNanoseconds), "threads": Int64(outcome.threadCount),
    ]
    if !outcome.blockers.isEmpty { record.set("blockers", outcome.blockers.map { self.record($0, operation.process) }) }
    return record
  }

  /// Names are looked up here, after the world has gone on.
  static func record(_ blocker: Blocker, _ process: TargetProcess) -> LuaRecord {
    let name = ProcFile.read("/proc/\(process.pid)/task/\(blocker.tid)/comm", limit: 64).map { String(decoding: $0.dropLast(), as: UTF8.self) } ?? ""
    var record = frameRecord(blocker.address, blocker.address, process)
    record.set("tid", Int64(blocker.tid))
    record.set("name", printable(name))
    record.set("reason", blocker.reason.rawValue)
    record.set("incomplete", blocker.reason == .incomplete)
    if let function = blocker.function, let symbol = process.describe(function)?.symbol { record.set("function", symbol) }
    record.set("frame", Int64(blocker.frame))
    record.set("callers", blocker.callers.prefix(64).map { frameRecord($0 &- 1, $0, process) })
    return record
  }

  // MARK: - Calls

  private static func call(_ handle: ProcessHandle, _ arguments: borrowing LuaArguments) throws(CodedError) -> LuaResults {
    let target = try handle.open()
    target.refresh()
    let function = try functionAddress(target, arguments)
    var values: [UInt64] = []
    if !arguments.isAbsent(2) {
      let table = try arguments.table(2)
      guard table.count <= 6 else { throw arguments.invalid(2, "at most 6 arguments") }
      for position in 1..<(table.count + 1) { values.append(UInt64(bitPattern: try table.integer(at: position) ?? 0)) }
    }
    let options = try arguments.options(3, ["timeout", "thread"])
    let timeout = try options.duration("timeout").map { UInt64($0 / 1000) } ?? 5_000_000
    let thread = try options.integer("thread").map { pid_t(truncatingIfNeeded: $0) }
    func call(_ function: UInt64, _ values: [UInt64]) throws(CodedError) -> (value: UInt64, carrier: pid_t, nanoseconds: UInt64) {
      guard let ours = try ownRuntime(of: target) else {
        return try target.bareCall(function, values, until: Deadline(afterMicroseconds: timeout), only: thread)
      }
      return try ours.call(function, values, timeout: timeout, thread: thread) { receipt throws(CodedError) in try insistOnSame(receipt, target.pid) }
    }
    var address = function
    if case .bytes(let name) = arguments.value(1), try target.isIndirect(String(decoding: name, as: UTF8.self)) {
      address = try call(function, []).value
    }
    let answer = try call(address, values)
    return .values(answer.value, microseconds(answer.nanoseconds), Int64(answer.carrier))
  }

  /// Nil where there is none, or SUSE's, which offers nothing for calls.
  private static func ownRuntime(of target: TargetProcess) throws(CodedError) -> PulpRuntime? {
    guard try target.libraries().contains(where: { $0.name.hasPrefix("libpulp.so") }) else { return nil }
    do throws(CodedError) { return try PulpRuntime(in: target) } catch {
      guard error.code == .runtimeForeign else { throw error }
      return nil
    }
  }

  private static func functionAddress(_ target: TargetProcess, _ arguments: borrowing LuaArguments) throws(CodedError) -> UInt64 {
    guard case .integer = arguments.value(1) else {
      let name = try arguments.string(1)
      guard let address = try target.symbol(name) else {
        throw CodedError(
          .callUnknownFunction, "no library of process \(target.pid) exports \(printable(name))",
          data: ["pid": .integer(Int64(target.pid)), "symbol": .text(name)])
      }
      return address
    }
    let address = try arguments.address(1)
    guard try target.readableMap().mapping(containing: address)?.isExecutable == true else {
      throw CodedError(
        .callUnknownFunction, "\(hex(address)) is not code of process \(target.pid)",
        data: ["pid": .integer(Int64(target.pid)), "address": .integer(Int64(bitPattern: address))])
    }
    return address
  }
}
