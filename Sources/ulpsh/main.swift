import LuaBindings
import LuaBridge

let installation = Installation.locate()
let state = LuaState(searchPath: installation.searchPath)
Bindings.install(in: state, installation: installation)
do throws(LuaError) {
  try state.evaluate(CommandLine.arguments.count > 2 ? CommandLine.arguments[2] : "")
} catch {
  print("ulpsh: \(error)\n\(error.traceback ?? "")")
}
