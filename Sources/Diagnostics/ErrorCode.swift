/// A stable, dotted name of one kind of failure, with what it means and what to do about it.
///
/// Codes are part of the interface: scripts compare them, `--json` prints them, the manual lists them. A code is never
/// reused for another meaning. All of them live in `ErrorCode+Catalogue.swift`; a test walks the list.
public struct ErrorCode: Hashable, Sendable, CustomStringConvertible {
  /// The dotted name, for example `target.build_id`.
  public let name: String
  /// One sentence: what is true of the world when this code is raised.
  public let meaning: String
  /// One sentence: what the operator can do. Shown after the message as `hint:`.
  public let hint: String

  init(_ name: String, _ meaning: String, hint: String) {
    self.name = name
    self.meaning = meaning
    self.hint = hint
  }

  public static func == (left: ErrorCode, right: ErrorCode) -> Bool { left.name == right.name }
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
  public var description: String { name }
}
