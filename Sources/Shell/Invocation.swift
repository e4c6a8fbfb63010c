import CLinux
import Glibc

/// What the command line asks for.
public struct Invocation: Equatable {
  public enum Work: Equatable {
    /// `-e CODE`
    case code(String)
    /// `FILE.lua`, or `-` for standard input.
    case script(path: String)
    case standardInput
    /// A subcommand of the standard library.
    case command(String)
    /// The program under the name `ulp`, with SUSE's commands and options; they are read in Lua.
    case suse
    /// The program under a name such as `ulp_trigger`, without its beginning.
    case talk(String)
    case version
    case help
  }

  /// What to run, in order. Empty: the prompt alone.
  public var work: [Work] = []
  /// Ends at the prompt.
  public var interactive = false
  /// Results and errors as JSON lines.
  public var json = false
  /// The program's name and what follows the script or command.
  public var program = "ulpsh"
  public var arguments: [String] = []

  public struct Mistake: Error, Equatable {
    public let message: String
  }

  public static let usage = """
    usage: ulpsh [OPTIONS] [FILE.lua | - | COMMAND] [ARGUMENTS]

      -e CODE        run CODE; may be repeated
      -i             go on at the prompt afterwards
      -              run standard input
      --json         results and errors as JSON lines
      -V, --version  print the version
      -h, --help     print this help

    Without FILE, COMMAND and -e: the prompt, or standard input if it is no terminal.
    `ulpsh help` lists the commands, `ulpsh help COMMAND` explains one.

    """

  /// Reads the words of the command line. `isTerminal`: whether standard input is one; `isScript`: whether a word that is
  /// not obviously a file names one.
  public static func parse(
    _ words: [String], isTerminal: Bool, isScript: (String) -> Bool = { _ in false }
  ) throws(Mistake) -> Invocation {
    var result = Invocation()
    var rest = words[...]
    result.program = rest.popFirst() ?? "ulpsh"
    if let other = workOfName(result.program) { return result.with(other, rest) }
    while let word = rest.popFirst() {
      switch word {
      case "-i": result.interactive = true
      case "--json": result.json = true
      case "-V", "--version": result.work = [.version]; return result
      case "-h", "--help": result.work = [.help]; return result
      case "-e":
        guard let code = rest.popFirst() else { throw Mistake(message: "option -e needs code") }
        result.work.append(.code(code))
      case "-": return result.with(.standardInput, rest)
      case "--":
        guard let word = rest.popFirst() else { break }
        return result.with(operand(word, isScript), rest)
      case _ where word.hasPrefix("-e"): result.work.append(.code(String(word.dropFirst(2))))
      case _ where word.hasPrefix("-"): throw Mistake(message: "unknown option '\(word)'")
      default: return result.with(operand(word, isScript), rest)
      }
    }
    if result.work.isEmpty {
      if isTerminal { result.interactive = true } else if !result.interactive { result.work = [.standardInput] }
    }
    return result
  }

  /// Whether it is one command that changes processes.
  private var isChange: Bool {
    switch work.last {
    case .command(let name): ["trigger", "revert", "replace", "recover"].contains(name)
    case .suse: arguments.contains("trigger")
    case .talk(let name): name == "trigger"
    default: false
    }
  }

  /// To be called first: beside busy threads already loading the standard library would wait for many turns. For many
  /// processes, and when the change is over, the standard library takes it back. By the first words of the command line it has
  /// been guessed before `main`.
  public func hastenIfChange() { ul_hasten(isChange ? 1 : 0) }

  private func with(_ last: Work, _ arguments: ArraySlice<String>) -> Invocation {
    var copy = self
    copy.work.append(last)
    copy.arguments = Array(arguments)
    return copy
  }

  private static func operand(_ word: String, _ isScript: (String) -> Bool) -> Work {
    word.hasSuffix(".lua") || word.contains("/") || isScript(word) ? .script(path: word) : .command(word)
  }

  /// What the program is under the names of libpulp's own tools.
  private static func workOfName(_ path: String) -> Work? {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    if name == "ulp" { return .suse }
    return name.hasPrefix("ulp_") ? .talk(String(name.dropFirst(4))) : nil
  }
}
