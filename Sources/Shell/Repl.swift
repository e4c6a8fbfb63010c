import CLinux
import Diagnostics
import Glibc
import LuaBridge

/// The prompt: reads statements, runs them, prints their results.
///
/// It knows Lua and lines. What completion offers and how values look is decided by the Lua module `ulp.repl`, with its
/// functions `__complete(line)` and `__pretty(...)`; without them the prompt still works, plainly.
public final class Repl {
  private let state: LuaState
  private let prompt = "ulp> "
  private let continuationPrompt = ".. "
  private var helpers: LuaReference?

  public init(_ state: LuaState) { self.state = state }

  /// Runs until the end of input. Returns the exit status.
  public func run() -> Int32 {
    helpers = try? state.require("ulp.repl")
    let reader = LineReader(history: UserFiles.history()) { [self] in completions(of: $0) }
    if let problem = reader.open() { write("ulpsh: no line editing: \(problem)\n", to: STDERR_FILENO) }
    runInitFile()
    while let statement = readStatement(reader) {
      if let statement { run(statement) }
    }
    write("\n", to: STDOUT_FILENO)
    return 0
  }

  // MARK: Reading

  /// The outer nil is the end of input, the inner one an abandoned or faulty statement.
  private func readStatement(_ reader: LineReader) -> Statement?? {
    var text: [UInt8] = []
    while true {
      switch reader.read(prompt: text.isEmpty ? prompt : continuationPrompt) {
      case .interrupted: return .some(nil)
      case .endOfInput:
        if text.isEmpty { return nil }
        write("\n", to: STDOUT_FILENO)
        return .some(nil)
      case .entered(let line):
        reader.remember(line)
        text += text.isEmpty ? line : [0x0a] + line
        switch Statement.compile(text, in: state) {
        case .complete(let statement): return statement
        case .incomplete: continue
        case .faulty(let error):
          report(error, traceback: false)
          return .some(nil)
        }
      }
    }
  }

  // MARK: Running

  private func run(_ statement: Statement) {
    ul_interrupt_reset()
    let stack = state.stack
    let base = stack.top
    do throws(LuaError) {
      let count = try statement.function.callKeepingResults(on: stack, [])
      if count > 0 { try show(count, on: stack) }
    } catch {
      state.clearInterrupt()  // a hook that is still set must not stop the report
      report(error, traceback: isMistake(error))
    }
    state.clearInterrupt()
    stack.pop(stack.top - base)
  }

  /// Whether the error is a mistake in Lua code, whose place matters. Any other is an answer to what was typed.
  private func isMistake(_ error: LuaError) -> Bool {
    guard let code = error.codeName else { return true }
    return code == ErrorCode.scriptError.name || code == ErrorCode.internalError.name
  }

  /// Prints the topmost `count` values; `_` keeps the first.
  private func show(_ count: Int32, on stack: LuaStack) throws(LuaError) {
    let values = (0..<count).map { stack.value(at: stack.top - count + 1 + $0) }
    state.setGlobal("_", values[0])
    if let text = try pretty(values, on: stack) { return write(text + "\n", to: STDOUT_FILENO) }
    write(values.map(stack.text(of:)).joined(separator: "\t") + "\n", to: STDOUT_FILENO)
  }

  /// Nil if there is no printer, or if it fails: a script may have taken away what it needs.
  private func pretty(_ values: [LuaValue], on stack: LuaStack) throws(LuaError) -> String? {
    guard let function = helpers?.rawMember("__pretty", on: stack) else { return nil }
    do throws(LuaError) {
      return try function.call(on: stack, LuaList(values), values.count).first?.text
    } catch {
      if error.codeName == ErrorCode.scriptInterrupted.name { throw error }
      return nil
    }
  }

  private func report(_ error: LuaError, traceback: Bool) {
    write(FailureReport(error: error).text(prefix: "", traceback: traceback), to: STDERR_FILENO)
  }

  private func runInitFile() {
    switch UserFiles.initFile() {
    case .absent: break
    case .refused(let path, let reason): write("ulpsh: \(path) is ignored: \(reason)\n", to: STDERR_FILENO)
    case .content(let source, let path):
      do throws(LuaError) { try state.run(Array(skippingShebang(source)), name: "@" + path) } catch { report(error, traceback: true) }
    }
  }

  // MARK: Completion

  /// Nil: complete file names. Failing Lua code means no completions, not a failing prompt.
  private func completions(of line: [UInt8]) -> [[UInt8]]? {
    let stack = state.stack
    defer { state.clearInterrupt() }
    guard let complete = helpers?.rawMember("__complete", on: stack),
      let results = try? complete.call(on: stack, LuaBytes(line)), case .reference(let list)? = results.first
    else { return [] }
    if results.count > 1, results[1].isTrue { return nil }
    return list.rawElements(on: stack, limit: 10_000).compactMap { if case .bytes(let word) = $0, !word.isEmpty { word } else { nil } }
  }
}

/// A line, or several, that Lua could compile.
struct Statement {
  let function: LuaReference

  enum Outcome {
    case complete(Statement)
    /// More lines are needed: the text ends too early.
    case incomplete
    case faulty(LuaError)
  }

  /// As an expression first, so that its value is shown; else as a statement.
  static func compile(_ text: [UInt8], in state: LuaState) -> Outcome {
    if let function = try? state.compile(Array("return ".utf8) + text, name: "=stdin") {
      return .complete(Statement(function: function))
    }
    do throws(LuaError) {
      return .complete(Statement(function: try state.compile(text, name: "=stdin")))
    } catch {
      return error.message.hasSuffix("<eof>") ? .incomplete : .faulty(error)
    }
  }
}
