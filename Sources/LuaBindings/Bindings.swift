import Diagnostics
import LivePatch
public import LuaBridge

/// The one place where Lua meets the domain: `ulp.core`, on which the standard library builds.
///
/// Each file adds one module's part: `ProcessModule.install(in: state, core: core)`.
public enum Bindings {
  public static let version = "0.1.0"

  /// Makes `require "ulp.core"` work; nothing is defined before that.
  public static func install(in state: LuaState, installation: Installation) {
    state.preload("ulp.core") { build(in: $0, installation) }
  }

  private static func build(in state: LuaState, _ installation: Installation) -> LuaModule {
    let core = LuaModule("ulp.core", in: state)
    core.set("version", version)
    core.set("libpulp_version", PulpRuntime.interfaceVersion)
    core.set("stdlib_path", installation.stdlib)
    core.set("runtime_path", installation.runtime)
    core.set("executable_path", installation.executable)
    installErrors(in: state, core: core)
    FileModule.install(in: state, core: core)
    SpawnModule.install(in: state, core: core)
    WorkerModule.install(in: state, core: core)
    ProcessModule.install(in: state, core: core)
    PatchModule.install(in: state, core: core)
    RuntimeModule.install(in: state, core: core)
    return core
  }

  /// What Lua code needs to make errors of the same kind as Swift's.
  private static func installErrors(in state: LuaState, core: LuaModule) {
    core.set("Error", state.errorMetatable)
    core.function("members", "class") { arguments in
      guard let members = arguments.stack.state.members(of: try arguments.string(1)) else { throw arguments.invalid(1, "no such class") }
      return members
    }
    core.function("code", "name") { arguments in
      let name = try arguments.string(1)
      return ErrorCode.all.first { $0.name == name }.map(record)
    }
    core.function("codes") { _ in ErrorCode.all.map(record) }
  }

  private static func record(_ code: ErrorCode) -> LuaRecord {
    ["name": code.name, "meaning": code.meaning, "hint": code.hint]
  }
}
