import Diagnostics
import ELF

/// Reads a description line by line. There is no escaping, no trimming and no continuation, so a line's first byte decides.
struct DescriptionParser {
  typealias Place = PatchDescription.Place
  typealias Word = PatchDescription.Word

  let source: [UInt8]
  let path: String
  private(set) var container: Word?
  private(set) var dependencies: [Word] = []
  private(set) var target: Word?
  private(set) var pairs: [PatchDescription.Pair] = []
  private(set) var references: [PatchDescription.Reference] = []
  private(set) var comments: [String] = []

  /// What was found wrong so far, in the order of the lines.
  private(set) var mistakes: [CodedError] = []
  /// There is a target line, right or wrong.
  private var hasTargetLine = false
  /// More mistakes than this are not looked for.
  static let mistakeLimit = 20

  private var lineNumber = 0
  /// Dependencies may only follow the container's line directly.
  private var mayHaveDependency = false

  init(source: [UInt8], path: String) {
    self.source = source
    self.path = path
  }

  /// Reads all lines, and collects mistakes: authors see them together. Behind a wrong first part there is no point in
  /// going on, because every later line would be at the wrong place.
  mutating func parse() {
    if source.isEmpty { return mistakes = [error("the file is empty; expected the path of the container", 1)] }
    var start = 0
    while start < source.count && mistakes.count < DescriptionParser.mistakeLimit {
      let end = source[start...].firstIndex(of: 0x0a) ?? source.count
      lineNumber += 1
      do throws(CodedError) { try parseLine(source[start..<end]) } catch {
        mistakes.append(error)
        if container == nil { return }
      }
      start = end + 1
    }
  }

  /// What must have appeared by the end of the file.
  func require(_ word: Word?, _ what: String) throws(CodedError) -> Word {
    if let word { return word }
    throw DescriptionParser.error(
      .descriptionSyntax, "the file ends; expected \(what)", at: Place(line: lineNumber, column: 1, length: 1), source: source,
      path: path)
  }

  private mutating func parseLine(_ line: ArraySlice<UInt8>) throws(CodedError) {
    if let place = line.firstIndex(of: 0) { throw error("a NUL byte; expected text", place - line.startIndex + 1) }
    // Blanks alone are forgiven: they are invisible.
    if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) {
      mayHaveDependency = false
      return
    }
    if line.first == UInt8(ascii: "!") {
      comments.append(String(decoding: line.dropFirst(), as: UTF8.self))
      mayHaveDependency = false
      return
    }
    if line.last == 0x0d { throw error("a carriage return ends the line; expected a line feed alone", line.count) }
    guard container != nil else { return try parseContainer(line) }
    switch line.first! {
    case UInt8(ascii: "*") where mayHaveDependency: dependencies.append(try word(line, 1, "the path of a metadata file"))
    case UInt8(ascii: "*"): throw error("dependencies ('*') must directly follow the container's line", 1, line.count)
    case UInt8(ascii: "@"): try parseTarget(line)
    case UInt8(ascii: "#"): try parseReference(line)
    default: try parsePair(line)
    }
  }

  private mutating func parseContainer(_ line: ArraySlice<UInt8>) throws(CodedError) {
    let signs: [UInt8] = [UInt8(ascii: "@"), UInt8(ascii: "#"), UInt8(ascii: "*")]
    if signs.contains(line.first!) { throw error("expected the path of the container before anything else", 1, line.count) }
    container = try word(line, 0, "the path of the container")
    mayHaveDependency = true
  }

  private mutating func parseTarget(_ line: ArraySlice<UInt8>) throws(CodedError) {
    mayHaveDependency = false
    hasTargetLine = true
    if let target {
      throw error("a second target; the first is in line \(target.place.line). A container patches one library", 1, line.count)
    }
    target = try word(line, 1, "the path of the target library behind '@'")
  }

  private mutating func parsePair(_ line: ArraySlice<UInt8>) throws(CodedError) {
    mayHaveDependency = false
    guard hasTargetLine else { throw error("a replacement before the target; expected '@' and a path first", 1, line.count) }
    let fields = split(line, from: 0)
    guard fields.count >= 2 else { throw error("expected ':' and the name of the new function", line.count + 1) }
    guard fields.count == 2 else {
      throw error("a third field; expected old name, ':', new name", fields[2].column, max(1, fields[2].bytes.count))
    }
    pairs.append(
      PatchDescription.Pair(
        oldName: try name(fields[0], "the name of the function to be replaced"),
        newName: try name(fields[1], "the name of the new function")))
  }

  private mutating func parseReference(_ line: ArraySlice<UInt8>) throws(CodedError) {
    mayHaveDependency = false
    guard hasTargetLine else { throw error("a reference before the target; expected '@' and a path first", 1, line.count) }
    let isThreadLocal = line.dropFirst().first == UInt8(ascii: "%")
    let fields = split(line, from: isThreadLocal ? 2 : 1)
    guard fields.count >= 2 else { throw error("expected ':' and the name of the container's variable", line.count + 1) }
    guard fields.count != 3 else {
      throw error("only one offset; expected ':' and the offset in the container", line.count + 1)
    }
    guard fields.count <= 4 else {
      throw error("a fifth field; expected the end of the line", fields[4].column, max(1, fields[4].bytes.count))
    }
    let targetName = try name(fields[0], "the name of a variable of the target")
    let ownName = try name(fields[1], "the name of the container's variable")
    var offsets: PatchDescription.Offsets?
    if fields.count == 4 { offsets = PatchDescription.Offsets(target: try offset(fields[2]), patch: try offset(fields[3])) }
    references.append(
      PatchDescription.Reference(targetName: targetName, name: ownName, offsets: offsets, isThreadLocal: isThreadLocal))
  }

  // MARK: words

  private typealias Field = (bytes: ArraySlice<UInt8>, column: Int)

  /// Splits at colons, but for the double ones inside of a C++ name: `shop::add(shop::Coin):add_2`.
  private func split(_ line: ArraySlice<UInt8>, from skipped: Int) -> [Field] {
    var fields: [Field] = []
    let bytes = line.dropFirst(skipped)
    var start = bytes.startIndex
    var index = start
    func add() { fields.append((bytes[start..<index], start - line.startIndex + 1)) }
    while index < bytes.endIndex {
      if bytes[index] != UInt8(ascii: ":") {
        index += 1
      } else if joinsNames(bytes, at: index, from: start) {
        index += 2
      } else {
        add()
        index += 1
        start = index
      }
    }
    add()
    return fields
  }

  /// Whether `::` stands there, behind a name and before another one.
  private func joinsNames(_ bytes: ArraySlice<UInt8>, at index: Int, from start: Int) -> Bool {
    guard index > start, index + 2 < bytes.endIndex, bytes[index + 1] == UInt8(ascii: ":") else { return false }
    func isLetter(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "_") || byte >= 0x80 || (0x61...0x7a).contains(byte | 0x20) }
    let before = bytes[index - 1], after = bytes[index + 2]
    return (isLetter(before) || (0x30...0x39).contains(before) || Array(">)}".utf8).contains(before))
      && (isLetter(after) || Array("~({".utf8).contains(after))
  }

  /// Where a blank is a mistake in a name; C++ has names with blanks, in parameters and in operators.
  private func misplacedBlank(in name: ArraySlice<UInt8>) -> Int? {
    let isLoose = name.contains { $0 == UInt8(ascii: "(") || $0 == UInt8(ascii: "<") }
    return name.indices.first { index in
      guard name[index] <= 0x20 || name[index] == 0x7f else { return false }
      return !isLoose || name[index] != 0x20 || index == name.startIndex || index == name.endIndex - 1
    }
  }

  private func name(_ field: Field, _ expected: String) throws(CodedError) -> Word {
    guard !field.bytes.isEmpty else { throw error("expected \(expected)", field.column) }
    if let blank = misplacedBlank(in: field.bytes) {
      throw error("a blank in a name; expected \(expected)", field.column + blank - field.bytes.startIndex)
    }
    return try word(field.bytes, 0, expected, column: field.column)
  }

  private func word(_ bytes: ArraySlice<UInt8>, _ skipped: Int, _ expected: String, column: Int = 1) throws(CodedError) -> Word
  {
    let rest = bytes.dropFirst(skipped)
    guard !rest.isEmpty else { throw error("expected \(expected)", column + skipped) }
    guard let text = String(validating: rest, as: UTF8.self) else {
      throw error("not UTF-8; expected \(expected)", column + skipped, rest.count)
    }
    return Word(text: text, place: Place(line: lineNumber, column: column + skipped, length: rest.count))
  }

  /// Hexadecimal digits, with or without 0x, at most 64 bits.
  private func offset(_ field: Field) throws(CodedError) -> UInt64 {
    var digits = field.bytes
    if digits.count > 2, digits.starts(with: [0x30, 0x78]) || digits.starts(with: [0x30, 0x58]) {
      digits = digits.dropFirst(2)
    }
    let isClean = digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0 | 0x20) }
    guard isClean, let value = UInt64(String(decoding: digits, as: UTF8.self), radix: 16) else {
      throw error("expected an offset of up to 16 hexadecimal digits", field.column, max(1, field.bytes.count))
    }
    return value
  }

  // MARK: errors

  private func error(_ reason: String, _ column: Int, _ length: Int = 1) -> CodedError {
    DescriptionParser.error(
      .descriptionSyntax, reason, at: Place(line: max(1, lineNumber), column: column, length: length), source: source,
      path: path)
  }

  static func error(_ code: ErrorCode, _ reason: String, at place: Place, source: [UInt8], path: String) -> CodedError {
    let lines = source.split(separator: 0x0a, omittingEmptySubsequences: false)
    let line = place.line <= lines.count ? lines[place.line - 1] : []
    // Tabs before the place stay tabs, so that the marker stands under it on every terminal.
    let indent = line.prefix(max(0, place.column - 1)).map { $0 == 0x09 ? UInt8(0x09) : 0x20 }
    let marker =
      String(decoding: indent, as: UTF8.self) + "^" + String(repeating: "~", count: max(0, min(place.length, 200) - 1))
    return CodedError(
      code, "\(printable(path)):\(place.line):\(place.column): \(reason)",
      data: [
        "path": .text(path), "line": .integer(Int64(place.line)), "column": .integer(Int64(place.column)),
        "source": .text(printableLine(line)), "marker": .text(marker),
      ])
  }

  private static func printableLine(_ line: ArraySlice<UInt8>) -> String {
    line.prefix(4096).split(separator: 0x09, omittingEmptySubsequences: false).map {
      printable(String(decoding: $0, as: UTF8.self))
    }
    .joined(separator: "\t")
  }
}
