import CLinux
import Diagnostics
import Inferior
import LuaBridge

/// Children as Lua sees them: start, read, write, signal, wait. What to expect of them is decided in `stdlib/ulp/spawn.lua`.
enum SpawnModule {
  /// A wait is cut into slices so that a Ctrl-C between two of them takes effect.
  private static let slice = 0.2

  static func install(in state: LuaState, core: LuaModule) {
    state.define(LaunchedProcess.self, "ulp.Child") { child in
      child.property("pid") { $0.pid }

      // What came, "" if nothing did within the time (or a signal cut it short), nil once the child has closed its output.
      child.method("read", "seconds") { child, arguments -> LuaResults in
        switch try child.read(seconds: min(arguments.number(1), slice)) {
        case .bytes(let bytes): .values(LuaBytes(bytes))
        case .nothing: .values("")
        case .end: .values(LuaNil())
        }
      }
      child.method("write", "bytes", "seconds") { child, arguments in
        try child.write(arguments.bytes(1), seconds: arguments.number(2))
      }
      child.method("close_input") { child, _ in child.closeInput() }
      child.method("signal", "number", "group") { child, arguments in
        child.send(signal: Int32(try arguments.integer(1, in: 0...64)), group: try arguments.boolean(2))
      }
      // "code" or "signal" and its number, "unknown", or nothing while the child goes on.
      child.method("wait", "seconds") { child, arguments -> LuaResults in
        switch child.wait(seconds: min(try arguments.number(1), slice)) {
        case nil: .values(LuaNil())
        case .code(let code): .values("code", code)
        case .signal(let signal): .values("signal", signal)
        case .unknown: .values("unknown", 0)
        }
      }
      child.method("close") { child, _ in child.close() }
      child.description { "Child \($0.pid)" }
      child.onClose { $0.close() }
    }

    core.function("spawn", "options") { arguments in
      let options = try arguments.options(1, ["command", "env", "preload", "cwd", "pty", "join"])
      var request = LaunchRequest(try strings(options, "command"))
      request.preload = try strings(options, "preload")
      request.directory = try options.string("cwd")
      request.terminal = try options.boolean("pty") ?? false
      request.joinsErrors = try options.boolean("join") ?? true
      request.environment = try environment(options)
      return LuaBox(try LaunchedProcess(request))
    }

    // The children among `children` that have output or have ended, as numbers from 1; none once the time is over.
    core.function("wait_any", "children", "seconds") { arguments in
      let table = try arguments.table(1)
      var children: [LaunchedProcess] = []
      for position in 1...max(1, table.count) {
        if let child = try table.object(at: position, LaunchedProcess.self) { children.append(child) }
      }
      let ready = LaunchedProcess.ready(children, seconds: min(try arguments.number(2), slice))
      return children.indices.filter { index in ready.contains { $0 === children[index] } }.map { $0 + 1 }
    }

    core.function("adopt_orphans") { _ in LaunchedProcess.adoptOrphans() }
    core.function("kill_orphans", "known") { arguments in
      let table = try arguments.table(1)
      var known: Set<Int32> = []
      for position in 1...max(1, table.count) {
        if let pid = try table.integer(at: position) { known.insert(Int32(truncatingIfNeeded: pid)) }
      }
      return LaunchedProcess.killOrphans(known: known)
    }
  }

  private static func strings(_ options: LuaFields, _ name: String) throws(CodedError) -> [String] {
    try options.withTable(name) { (list) throws(CodedError) -> [String] in
      var found: [String] = []
      for position in 1...max(1, list.count) {
        if let text = try list.string(at: position) { found.append(text) }
      }
      return found
    } ?? []
  }

  /// Pairs of a name and a value; without a value the variable is removed.
  private static func environment(_ options: LuaFields) throws(CodedError) -> [(name: String, value: String?)] {
    try options.withTable("env") { (list) throws(CodedError) -> [(name: String, value: String?)] in
      var changes: [(name: String, value: String?)] = []
      for position in 1...max(1, list.count) {
        let change = try list.withTable(at: position) { (pair) throws(CodedError) -> (name: String, value: String?) in
          (try pair.string(at: 1) ?? "", try pair.string(at: 2))
        }
        if let change, !change.name.isEmpty { changes.append(change) }
      }
      return changes
    } ?? []
  }
}
