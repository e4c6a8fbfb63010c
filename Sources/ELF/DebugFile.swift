import CElf
import Diagnostics
import Glibc

extension ELFFile {
  /// Where distributions put separate debug information (gdb manual, "Separate Debug Files").
  public static let debugDirectory = "/usr/lib/debug"

  /// The file with this one's debug information and full symbol table, when it was split off: by build ID, then by the
  /// name in `.gnu_debuglink` beside the file, in `.debug` there, and below the debug directory. Only a file with the same
  /// build ID counts. Nil when there is none.
  public func debugFile(directory: String = ELFFile.debugDirectory) -> ELFFile? {
    guard let id = try? buildID() else { return nil }
    let place = realpath(path, nil).map { resolved -> String in
      defer { free(resolved) }
      return String(cString: resolved)
    }
    var candidates: [String] = []
    let digits = id.description
    if digits.utf8.count > 2 { candidates.append("\(directory)/.build-id/\(digits.prefix(2))/\(digits.dropFirst(2)).debug") }
    if let place, let name = try? debugLink(), let slash = place.utf8.lastIndex(of: 0x2f) {
      let beside = String(place[..<slash])
      candidates += ["\(beside)/\(name)", "\(beside)/.debug/\(name)", "\(directory)\(beside)/\(name)"]
    }
    for candidate in candidates {
      guard let found = try? ELFFile(path: candidate), found.identity != identity else { continue }
      if let other = try? found.buildID(), other == id { return found }
    }
    return nil
  }

  /// A file that is said to hold this one's debug information. Throws `target.build_id` when it belongs to another build.
  public func debugFile(at path: String) throws(CodedError) -> ELFFile {
    let found = try ELFFile(path: path)
    let own = try requireBuildID()
    let other = try found.requireBuildID()
    guard own == other else {
      throw CodedError(
        .targetBuildID,
        "\(printable(path)) has build ID \(other.description), \(printable(self.path)) has \(own.description)",
        hint: "use the debug information of this build",
        data: ["path": .text(path), "expected": .text(own.description), "found": .text(other.description)])
    }
    return found
  }

  /// The file name in `.gnu_debuglink`, without directories.
  func debugLink() throws(CodedError) -> String? {
    guard let section = try section(named: ".gnu_debuglink"), section.size <= 4096 else { return nil }
    guard let name = try contents(of: section).string(at: 0), !name.isEmpty, !name.utf8.contains(0x2f) else { return nil }
    return name
  }

  /// Whether the file has DWARF of its own.
  public var hasDebugInformation: Bool {
    (try? sections().contains { $0.name == ".debug_info" || $0.name == ".zdebug_info" }) ?? false
  }
}
