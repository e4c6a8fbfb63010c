import Diagnostics
import Glibc
import LuaBridge

/// The few things about files and time that Lua's own library lacks.
enum FileModule {
  static func install(in state: LuaState, core: LuaModule) {
    // The names in a directory, sorted; nil if it is none.
    core.function("list_directory", "path") { arguments -> [String]? in names(in: try arguments.string(1)) }

    // What a path names, without following a last symbolic link.
    core.function("file_kind", "path") { arguments -> String? in kind(of: try arguments.string(1)) }

    core.function("is_terminal", "descriptor") { arguments in isatty(Int32(truncatingIfNeeded: try arguments.integer(1))) == 1 }

    core.query("absolute_path", "path") { arguments in
      let path = try arguments.string(1)
      guard let resolved = realpath(path, nil) else { throw unreadable(path) }
      defer { free(resolved) }
      return String(cString: resolved)
    }

    // A new directory of mode 0755, so that a target of another user can load what is put there.
    core.query("make_temporary_directory", "prefix") { arguments in
      let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
      var template = Array("\(parent)/\(try arguments.string(1))XXXXXX".utf8CString)
      guard mkdtemp(&template) != nil, chmod(template, 0o755) == 0 else {
        throw CodedError(.fileUnwritable, "no directory can be made in \(printable(parent)): \(String(cString: strerror(errno)))")
      }
      return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    core.function("remove_tree", "path") { arguments in removeTree(try arguments.string(1)) }

    core.function("user_id") { _ in Int64(geteuid()) }
    core.function("clock") { _ in
      var now = timespec()
      clock_gettime(CLOCK_MONOTONIC, &now)
      return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }

    // Sleeps, or returns early when a signal comes in.
    core.function("sleep", "seconds") { arguments in
      let seconds = max(0, min(try arguments.number(1), 86_400))
      var span = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
      nanosleep(&span, nil)
    }
  }

  private static func unreadable(_ path: String) -> CodedError {
    CodedError(
      .fileUnreadable, "cannot read \(printable(path)): \(String(cString: strerror(errno)))", data: ["path": .text(path)])
  }

  private static func kind(of path: String) -> String? {
    var facts = stat()
    guard lstat(path, &facts) == 0 else { return nil }
    switch facts.st_mode & S_IFMT {
    case S_IFREG: return "file"
    case S_IFDIR: return "directory"
    case S_IFLNK: return "link"
    default: return "other"
    }
  }

  private static func names(in path: String) -> [String]? {
    guard let directory = opendir(path) else { return nil }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { found.append(name) }
    }
    return found.sorted()
  }

  /// Does not follow symbolic links: what they name is not ours.
  private static func removeTree(_ path: String) {
    if unlink(path) == 0 { return }
    for name in names(in: path) ?? [] { removeTree("\(path)/\(name)") }
    rmdir(path)
  }
}
