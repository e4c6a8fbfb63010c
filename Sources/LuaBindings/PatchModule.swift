import Diagnostics
import ELF
import Glibc
import Inferior
import LivePatch
import LuaBridge
import Tracing

/// Containers and plans: `core.container`, `core.plan`, `core.pack`. Nothing here changes a process.
enum PatchModule {
  static func install(in state: LuaState, core: LuaModule) {
    state.define(ContainerHandle.self, "ulp.Container") { container in
      container.property("id") { $0.container.id.description }
      container.property("path") { $0.container.path }
      container.property("target") { $0.container.targetName }
      container.property("build_id") { $0.container.buildID.description }
      container.property("target_build_id") { $0.container.targetBuildID.description }
      container.property("labels") { $0.container.labels }
      for name in ["units", "references", "constructors", "comments", "undefined", "needed", "dependencies"] {
        container.property(name) { try member(name, of: $0.container) }
      }
      container.method("wire", "path") { handle, arguments in LuaBytes(try handle.container.wireForm(path: try arguments.string(1))) }
      container.method("record") { handle, _ in try handle.container.record() }
      container.description { "Container \($0.container.path)" }
    }
    core.query("container", "path") { arguments in LuaBox(ContainerHandle(try Container(path: try arguments.string(1)))) }
    definePlan(in: state, core: core)
    PackModule.install(in: state, core: core)
  }

  private static func member(_ name: String, of container: Container) throws(CodedError) -> DiagnosticValue {
    guard case .record(let members) = try container.record(), let found = members.first(where: { $0.name == name }) else { return .list([]) }
    return found.value
  }

  private static func definePlan(in state: LuaState, core: LuaModule) {
    state.define(PlanHandle.self, "ulp.Plan") { plan in
      plan.property("pid") { Int64($0.plan.pid) }
      plan.property("universe") { $0.plan.universe }
      plan.property("empty") { $0.plan.isEmpty }
      plan.property("already") { $0.plan.already.map(\.description) }
      plan.property("warnings") { $0.plan.warnings }
      plan.property("lost") { $0.plan.lost.map { lost -> LuaRecord in
        ["id": hexadecimal(lost.patch.id), "path": printable(lost.patch.path), "reason": lost.reason]
      } }
      plan.property("applies") { $0.plan.applies.map(record) }
      plan.property("reverts") { $0.plan.reverts.map(record) }
      plan.description { describe($0.plan) }
    }
    core.query("plan", "process", "containers", "reverts", "options") { arguments in
      let process = try arguments.object(1, ProcessHandle.self)
      let containers = try arguments.isAbsent(2) ? [] : list(try arguments.table(2))
      let target = try process.open()
      let isFresh = target.refreshIfOld()
      let reverts = try arguments.isAbsent(3) ? [] : identifiers(try arguments.table(3))
      let fields = try arguments.options(4, ["unload", "pin", "root", "deliver"])
      var options = PlanOptions()
      options.unloads = try fields.boolean("unload")
      options.pinsLibraries = try fields.boolean("pin") ?? false
      options.root = try fields.string("root")
      options.delivery = Delivery(rawValue: try fields.choice("deliver", Delivery.allCases.map(\.rawValue)) ?? "") ?? .path
      func plan() throws(CodedError) -> LuaBox<PlanHandle> {
        let planner = try PatchPlanner(try findRuntime(in: target), options)
        return LuaBox(PlanHandle(try planner.plan(applying: containers, reverting: reverts)))
      }
      do throws(CodedError) { return try plan() } catch {
        // The program may have loaded or unloaded something since the moment before: a refusal is about what is there now.
        if isFresh { throw error }
        target.refresh()
        return try plan()
      }
    }
  }

  private static func list(_ fields: LuaFields) throws(CodedError) -> [Container] {
    var containers: [Container] = []
    for position in 1..<(fields.count + 1) {
      guard let handle = try fields.object(at: position, ContainerHandle.self) else { break }
      containers.append(handle.container)
    }
    return containers
  }

  private static func identifiers(_ fields: LuaFields) throws(CodedError) -> [PatchID] {
    var found: [PatchID] = []
    for position in 1..<(fields.count + 1) {
      guard let text = try fields.string(at: position) else { break }
      found.append(try patchID(text))
    }
    return found
  }

  static func patchID(_ text: String) throws(CodedError) -> PatchID {
    var bytes: [UInt8] = []
    var pending: UInt8?
    for digit in text.utf8 {
      guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { break }
      if let high = pending {
        bytes.append(high << 4 | UInt8(value))
        pending = nil
      } else {
        pending = UInt8(value)
      }
    }
    guard text.utf8.count == 2 * PatchID.size, let id = PatchID(bytes) else {
      throw CodedError(.usage, "'\(printable(text))' is not a patch id (64 hexadecimal digits)")
    }
    return id
  }

  // MARK: - Plans as records and text

  private static func record(_ apply: PatchPlan.Apply) -> LuaRecord {
    var record: LuaRecord = [
      "id": apply.id.description, "path": apply.path, "target_path": apply.targetPath,
      "library": apply.libraryName, "library_path": apply.libraryPath,
      "bias": apply.bias, "constructors": apply.constructors, "brings": apply.brings, "labels": apply.labels,
      "exposures": apply.exposures.map { printable($0) }, "pin": apply.pinsLibrary, "deliver": apply.delivery.rawValue,
      "functions": apply.units.map { unit -> LuaRecord in
        [
          "old_name": unit.oldName, "new_name": unit.newName, "entry": unit.entry, "size": unit.size,
          "point_offset": Int64(unit.pointOffset), "armed": unit.isArmed,
        ]
      },
    ]
    if let reason = apply.keepReason { record.set("keep", reason.text) }
    return record
  }

  private static func record(_ revert: PatchPlan.Revert) -> LuaRecord {
    ["id": revert.id.description, "path": revert.path, "library": revert.libraryName, "functions": revert.functions]
  }

  private static func describe(_ plan: PatchPlan) -> String {
    var lines = ["Plan for process \(plan.pid), universe \(plan.universe) -> \(plan.universe + 1)"]
    for id in plan.already { lines.append("  already applied: \(id.description.prefix(16))") }
    for apply in plan.applies {
      lines.append("  apply \(printable(apply.path)) to \(printable(apply.libraryName))")
      if apply.targetPath != apply.path { lines.append("    the process opens it as \(printable(apply.targetPath))") }
      if apply.delivery == .memory { lines.append("    the process loads it from a sealed memory file") }
      for unit in apply.units {
        lines.append("    \(printable(unit.oldName)) at \(hex(unit.entry)) -> \(printable(unit.newName))" + (unit.isArmed ? " (diverted already)" : ""))
      }
      if let reason = apply.keepReason { lines.append("    stays loaded after a revert: \(reason.text)") }
      if apply.pinsLibrary { lines.append("    holds \(printable(apply.libraryName)) open") }
      if !apply.constructors.isEmpty { lines.append("    runs constructors: \(apply.constructors.map { printable($0) }.joined(separator: ", "))") }
      if !apply.brings.isEmpty { lines.append("    brings libraries: \(apply.brings.map { printable($0) }.joined(separator: ", "))") }
    }
    for revert in plan.reverts {
      lines.append("  revert \(printable(revert.path)) from \(printable(revert.libraryName)), \(revert.functions.count) functions")
    }
    for lost in plan.lost { lines.append("  write off \(printable(lost.patch.path)): \(lost.reason)") }
    if plan.isEmpty { lines.append("  nothing to do") }
    return (lines + plan.warnings.map { "  warning: " + $0 }).joined(separator: "\n")
  }
}
