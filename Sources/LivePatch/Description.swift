import Diagnostics
import ELF
import Glibc

/// A description file: which container replaces which functions of which library ("libpulp container format",
/// "Description file"). Every part keeps its place, so that later mistakes point at the line as well.
public struct PatchDescription: Sendable {
  /// Line and column, both from 1; columns count bytes.
  public struct Place: Hashable, Sendable {
    public let line: Int
    public let column: Int
    /// How many bytes are at fault.
    public let length: Int
  }

  public struct Word: Hashable, Sendable {
    public let text: String
    public let place: Place
  }

  public struct Pair: Hashable, Sendable {
    public let oldName: Word
    public let newName: Word
  }

  public struct Reference: Hashable, Sendable {
    public let targetName: Word
    public let name: Word
    /// Nil when the line gives no offsets: they are looked up by name.
    public let offsets: Offsets?
    public let isThreadLocal: Bool
  }

  public struct Offsets: Hashable, Sendable {
    public let target: UInt64
    public let patch: UInt64
  }

  /// The file's name for messages and for resolving relative paths.
  public let path: String
  /// The raw bytes, of which the patch id is made.
  public let source: [UInt8]
  public let container: Word
  /// Old stand-alone metadata files of patches that must be in force before.
  public let dependencies: [Word]
  public let target: Word
  public let pairs: [Pair]
  public let references: [Reference]
  /// Text behind the `!` of every comment line, in order.
  public let comments: [String]

  /// Throws `file.unreadable` or `description.syntax`.
  public init(path: String) throws(CodedError) {
    let file = try FileBytes(path: path)
    let source = try file.readAll(limit: 16 << 20)
    try file.requireUnchanged()
    try self.init(source: source, path: path)
  }

  /// Throws `description.syntax`; of several mistakes the first, with all of them in its `mistakes`.
  public init(source: [UInt8], path: String) throws(CodedError) {
    var parser = DescriptionParser(source: source, path: path)
    parser.parse()
    if let error = CodedError.together(parser.mistakes) { throw error }
    self.path = path
    self.source = source
    container = try parser.require(parser.container, "the path of the container")
    target = try parser.require(parser.target, "'@' and the path of the target library")
    dependencies = parser.dependencies
    pairs = parser.pairs
    references = parser.references
    comments = parser.comments
  }

  /// Where a path of the description leads: as it is, from the working directory (as SUSE's packer looks), or, when there
  /// is nothing, from the description's own directory.
  public func place(of word: Word) -> String {
    if word.text.utf8.first == 0x2f || access(word.text, F_OK) == 0 { return word.text }
    guard let slash = path.utf8.lastIndex(of: 0x2f) else { return word.text }
    let beside = String(path[...slash]) + word.text
    return access(beside, F_OK) == 0 ? beside : word.text
  }

  /// The description as a value for scripts.
  public var record: DiagnosticValue {
    func place(_ word: Word) -> DiagnosticValue { .text(self.place(of: word)) }
    return .record([
      .init("path", .text(path)), .init("container", place(container)), .init("target", place(target)),
      .init("dependencies", .list(dependencies.map(place))),
      .init("units", .list(pairs.map { .record([.init("old_name", .text($0.oldName.text)), .init("new_name", .text($0.newName.text))]) })),
      .init("references", .list(references.map { reference in
        var members: [DiagnosticValue.Member] = [
          .init("target_name", .text(reference.targetName.text)), .init("name", .text(reference.name.text)),
          .init("tls", .flag(reference.isThreadLocal)),
        ]
        if let offsets = reference.offsets {
          members.append(.init("target_offset", .integer(Int64(bitPattern: offsets.target))))
          members.append(.init("patch_offset", .integer(Int64(bitPattern: offsets.patch))))
        }
        return .record(members)
      })),
      .init("comments", .list(comments.map { .text($0) })),
    ])
  }

  /// An error that points at a place of the description: the message begins like a compiler's, `FILE:LINE:COLUMN:`; the
  /// offending line and the marker under it are among the data.
  public func error(_ code: ErrorCode, _ reason: String, at place: Place) -> CodedError {
    DescriptionParser.error(code, reason, at: place, source: source, path: path)
  }
}
