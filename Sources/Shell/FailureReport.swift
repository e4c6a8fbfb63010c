import Diagnostics
import LuaBridge

/// What the user sees of an error: the message, the advice, and where it came from.
struct FailureReport {
  /// More than this of a message is no help on a screen.
  static let longestMessage = 16 * 1024

  let error: LuaError

  /// `ulpsh: MESSAGE [CODE]`, `hint: HINT`, the traceback. Ends with a newline.
  func text(prefix: String = "ulpsh: ", traceback: Bool = true) -> String {
    var lines = [prefix + clean(shorten(error.description))]
    if traceback, let trace = error.traceback { lines.append(clean(trace)) }
    return lines.joined(separator: "\n") + "\n"
  }

  private func shorten(_ text: String) -> String {
    guard text.utf8.count > FailureReport.longestMessage else { return text }
    return String(decoding: text.utf8.prefix(FailureReport.longestMessage), as: UTF8.self) + "... (\(text.utf8.count) bytes)"
  }

  /// Text of targets and files reaches messages: nothing in it may steer the terminal.
  private func clean(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false)
      .map { line in line.split(separator: "\t", omittingEmptySubsequences: false).map { printable(String($0)) }.joined(separator: "\t") }
      .joined(separator: "\n")
  }
}
