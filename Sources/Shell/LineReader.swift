import CLinux
import CLuaShim
import Glibc

/// Where the prompt's lines come from.
final class LineReader {
  enum Line: Equatable {
    case entered([UInt8])
    /// Ctrl-C: what was typed is abandoned.
    case interrupted
    case endOfInput
  }

  /// Gives the words that may replace the last one of a line; nil to complete file names.
  private let completions: ([UInt8]) -> [[UInt8]]?
  private let history: String?
  private var hasReadline = false

  init(history: String?, completions: @escaping ([UInt8]) -> [[UInt8]]?) {
    self.history = history
    self.completions = completions
  }

  /// Loads readline. Without it lines are read plainly; returns why.
  func open() -> String? {
    let context = Unmanaged.passUnretained(self).toOpaque()
    let problem = ul_readline_open({ context, line, length, candidates in
      let reader = Unmanaged<LineReader>.fromOpaque(context).takeUnretainedValue()
      let prefix = [UInt8](UnsafeRawBufferPointer(start: line, count: length))
      guard let words = reader.completions(prefix) else { return 1 }
      for word in words {
        word.withUnsafeBytes { ul_candidates_add(candidates, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count) }
      }
      return 0
    }, context)
    if let problem { return String(cString: problem) }
    hasReadline = true
    if let history { ul_history_load(history, 5000) }
    return nil
  }

  func read(prompt: String) -> Line {
    fflush(nil)
    guard hasReadline else { return readPlainly(prompt) }
    var end = UL_LINE_ENTERED
    guard let line = ul_readline_read(prompt, &end) else { return end == UL_LINE_INTERRUPTED ? .interrupted : .endOfInput }
    defer { free(line) }
    return .entered([UInt8](UnsafeRawBufferPointer(start: line, count: strlen(line))))
  }

  func remember(_ line: [UInt8]) {
    guard hasReadline, line.contains(where: { $0 != 0x20 && $0 != 0x09 }) else { return }
    (line + [0]).withUnsafeBytes { ul_history_add($0.baseAddress!.assumingMemoryBound(to: CChar.self), history) }
  }

  private func readPlainly(_ prompt: String) -> Line {
    write(prompt, to: STDOUT_FILENO)
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while true {
      switch Glibc.read(STDIN_FILENO, &byte, 1) {
      case 1 where byte == 0x0a: return .entered(line)
      case 1: line.append(byte)
      case -1 where errno == EINTR:
        if ul_interrupt_take() != 0 { return .interrupted }
      default: return line.isEmpty ? .endOfInput : .entered(line)
      }
    }
  }
}
