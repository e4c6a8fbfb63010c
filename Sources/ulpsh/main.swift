import Glibc
import LuaBindings
import LuaBridge
import Shell

/// Joins the parts: an interpreter with the bindings, the standard library as `ulp`, and the command line.
func runProgram() -> Int32 {
  let invocation: Invocation
  do throws(Invocation.Mistake) {
    invocation = try Invocation.parse(CommandLine.arguments, isTerminal: isatty(STDIN_FILENO) == 1, isScript: isFile)
  } catch {
    complain("\(error.message)\n\(Invocation.usage)")
    return ExitStatus.usage
  }
  invocation.hastenIfChange()
  let installation = Installation.locate()
  let state = LuaState(searchPath: installation.searchPath)
  defer { state.close() }
  Bindings.install(in: state, installation: installation)
  installLibrary(in: state, installation)
  return Program(invocation, in: state, version: Bindings.version).run()
}

/// `ulp` as a global. Without it the shell is still a Lua, and says so.
func installLibrary(in state: LuaState, _ installation: Installation) {
  guard installation.stdlib != nil else { return complain("the standard library was not found; set ULPSH_STDLIB\n") }
  do throws(LuaError) { state.setGlobal("ulp", try state.require("ulp")) } catch { complain("\(error.message)\n") }
}

/// A word without ".lua" names a script if it is a file that says so itself.
func isFile(_ word: String) -> Bool {
  let descriptor = open(word, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { return false }
  defer { close(descriptor) }
  var start: (UInt8, UInt8) = (0, 0)
  return read(descriptor, &start, 2) == 2 && start == (0x23, 0x21)
}

func complain(_ text: String) {
  let line = "ulpsh: " + text
  _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}

exit(runProgram())
