/// The one error type of ulpsh: what failed, on what, why, and what to do next.
///
/// Every layer throws it typed (`throws(CodedError)`); a layer that knows more adds to `data` or rewords `message`, and
/// keeps the code. Lua sees it as a table with `code`, `message`, `hint` and the members of `data`.
public struct CodedError: Error, Sendable, CustomStringConvertible {
  public let code: ErrorCode
  /// What failed, on what, and why, in one line without the code and without a final full stop.
  public var message: String
  /// Advice that is better than the code's own, when the place of failure knows it.
  public var specificHint: String?
  /// The facts of the failure for scripts: names such as `pid`, `tid`, `path`, `symbol`, `expected`, `found`.
  public var data: [(name: String, value: DiagnosticValue)]

  public init(
    _ code: ErrorCode, _ message: String, hint: String? = nil, data: KeyValuePairs<String, DiagnosticValue> = [:]
  ) {
    self.code = code
    self.message = message
    self.specificHint = hint
    self.data = data.map { (name: $0.key, value: $0.value) }
  }

  /// Several mistakes in one input, as one error: the first one, with all of them in `mistakes`.
  public static func together(_ errors: [CodedError]) -> CodedError? {
    guard var first = errors.first, errors.count > 1 else { return errors.first }
    first.data.append((name: "mistakes", value: .list(errors.map(\.record))))
    return first
  }

  /// Message, code and facts as a value.
  var record: DiagnosticValue {
    .record(
      [.init("code", .text(code.name)), .init("message", .text(message)), .init("hint", .text(hint))]
        + data.map { .init($0.name, $0.value) })
  }

  public var hint: String { specificHint ?? code.hint }
  public var description: String { "\(message) [\(code.name)]" }

  /// The same error with one fact more.
  public func with(_ name: String, _ value: DiagnosticValue) -> CodedError {
    var copy = self
    copy.data.append((name: name, value: value))
    return copy
  }
}

/// A fact attached to an error or a result: the values that survive the way to Lua and JSON unchanged.
public indirect enum DiagnosticValue: Sendable, Equatable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral
{
  case text(String)
  case integer(Int64)
  case flag(Bool)
  case list([DiagnosticValue])
  /// Named members in the order they are printed.
  case record([Member])

  public struct Member: Sendable, Equatable {
    public let name: String
    public let value: DiagnosticValue
    public init(_ name: String, _ value: DiagnosticValue) {
      self.name = name
      self.value = value
    }
  }

  public init(stringLiteral value: String) { self = .text(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(booleanLiteral value: Bool) { self = .flag(value) }
  public init(arrayLiteral elements: DiagnosticValue...) { self = .list(elements) }
}

/// Makes text from files, processes and target memory safe to print: control characters, which could steer a terminal,
/// become `\xNN`; everything else stays.
public func printable(_ text: String) -> String {
  var cleaned = ""
  for scalar in text.unicodeScalars {
    if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
      let digits = String(scalar.value, radix: 16)
      cleaned += "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
    } else {
      cleaned.unicodeScalars.append(scalar)
    }
  }
  return cleaned
}
