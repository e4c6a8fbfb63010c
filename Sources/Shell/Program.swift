import CLinux
import Diagnostics
import Glibc
public import LuaBridge

/// Exit statuses of the command line.
public enum ExitStatus {
  public static let done: Int32 = 0
  /// Some target was not done, failed or refused.
  public static let failed: Int32 = 1
  public static let usage: Int32 = 2
  public static let scriptError: Int32 = 3
  public static let nothingMatched: Int32 = 4
  /// A target needs attention.
  public static let attention: Int32 = 5
}

/// Runs what the command line asks for.
public struct Program {
  private let state: LuaState
  private let invocation: Invocation
  private let version: String

  public init(_ invocation: Invocation, in state: LuaState, version: String) {
    self.invocation = invocation
    self.state = state
    self.version = version
  }

  /// Returns the exit status.
  public func run() -> Int32 {
    ul_normalise_process()
    ul_interrupt_install(LuaState.interruptHook)
    state.acceptInterrupts()
    setArguments()
    for work in invocation.work {
      let status = run(work)
      if status != ExitStatus.done { return invocation.interactive ? Repl(state).run() : finished(status) }
    }
    return invocation.interactive ? Repl(state).run() : finished(ExitStatus.done)
  }

  /// The exit status, once the output has arrived: half a list on a full disk must not look like all of it.
  private func finished(_ status: Int32) -> Int32 {
    let failure = ul_finish_output()
    guard failure != 0 else { return status }
    let reason = failure > 0 ? ": " + String(cString: strerror(failure)) : ""
    write("ulpsh: cannot write all of standard output\(reason)\n", to: STDERR_FILENO)
    return status == ExitStatus.done ? ExitStatus.failed : status
  }

  private func run(_ work: Invocation.Work) -> Int32 {
    do throws(LuaError) {
      switch work {
      case .version: write("ulpsh \(version)\n", to: STDOUT_FILENO)
      case .help: write(Invocation.usage, to: STDOUT_FILENO)
      case .code(let code): try state.run(Array(code.utf8), name: "=(command line)")
      case .script(let path): return try runScript(path)
      case .standardInput: try runSource(readAll(STDIN_FILENO) ?? [], name: "=stdin")
      case .command(let name): return try runMain(of: "ulp.cli", name, invocation.arguments, invocation.json)
      case .suse: return try runMain(of: "ulp.names.program", invocation.arguments)
      case .talk(let name): return try runMain(of: "ulp.names.talk", name, invocation.arguments)
      }
      return ExitStatus.done
    } catch {
      return report(error)
    }
  }

  // MARK: Kinds of work

  private func runScript(_ path: String) throws(LuaError) -> Int32 {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    let source = descriptor >= 0 ? readAll(descriptor) : nil
    let reason = String(cString: strerror(errno))
    if descriptor >= 0 { close(descriptor) }
    guard let source else {
      write("ulpsh: cannot read \(printable(path)): \(reason)\n", to: STDERR_FILENO)
      return ExitStatus.usage
    }
    try runSource(source, name: "@" + path)
    return ExitStatus.done
  }

  private func runSource(_ source: [UInt8], name: String) throws(LuaError) {
    try state.run(Array(skippingShebang(source)), name: name, arguments: invocation.arguments)
  }

  /// A module's `main` parses arguments, prints results and says how it ended.
  private func runMain(of module: String, _ arguments: any LuaPushable...) throws(LuaError) -> Int32 {
    let stack = state.stack
    guard let main = try state.require(module).rawMember("main", on: stack) else { return ExitStatus.scriptError }
    let results = try main.call(on: stack, arguments)
    return Int32(truncatingIfNeeded: results.first?.integer ?? Int64(ExitStatus.scriptError))
  }

  /// `arg`, as Lua's own interpreter sets it.
  private func setArguments() {
    var script: String?
    if case .script(let path)? = invocation.work.last { script = path }
    state.setArguments(program: invocation.program, script: script, invocation.arguments)
  }

  // MARK: Failure

  private func report(_ error: LuaError) -> Int32 {
    state.clearInterrupt()  // a hook that is still set must not stop the report
    if error.codeName == ErrorCode.scriptInterrupted.name {
      write("ulpsh: interrupted\n", to: STDERR_FILENO)
      return endBySignal()
    }
    if !(invocation.json && reportAsJSON(error)) { write(FailureReport(error: error).text(), to: STDERR_FILENO) }
    return ExitStatus.scriptError
  }

  private func reportAsJSON(_ error: LuaError) -> Bool {
    let stack = state.stack
    guard let failure = try? state.require("ulp.render.json").rawMember("failure", on: stack) else { return false }
    return (try? failure.call(on: stack, error.value, error.traceback)) != nil
  }

  /// Ends as a program that SIGINT killed, which is what a calling shell needs to know, but after Lua let go of everything.
  private func endBySignal() -> Int32 {
    if invocation.interactive { return ExitStatus.scriptError }
    state.close()
    ul_interrupt_uninstall()
    kill(getpid(), SIGINT)
    return 130
  }
}

/// The source without a first line that starts with `#`; its newline stays, so that line numbers hold.
func skippingShebang(_ source: [UInt8]) -> ArraySlice<UInt8> {
  let text = source.starts(with: [0xef, 0xbb, 0xbf]) ? source.dropFirst(3) : source[...]
  return text.first == 0x23 ? text.drop { $0 != 0x0a } : text
}
