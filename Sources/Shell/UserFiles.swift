import Glibc

/// Files in the user's home: the history and the init file.
enum UserFiles {
  /// The history file, created if need be, readable by its owner only; nil if there is no place for it.
  static func history() -> String? {
    guard let directory = directory("XDG_STATE_HOME", otherwise: "/.local/state") else { return nil }
    makeDirectories(directory)
    let path = directory + "/history"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return nil }
    fchmod(descriptor, 0o600)
    close(descriptor)
    return path
  }

  enum InitFile {
    case absent
    case content([UInt8], path: String)
    /// It exists but somebody else could have written it.
    case refused(path: String, reason: String)
  }

  /// `init.lua`, if it belongs to the effective user and nobody else can write it.
  static func initFile() -> InitFile {
    guard let directory = directory("XDG_CONFIG_HOME", otherwise: "/.config") else { return .absent }
    let path = directory + "/init.lua"
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .absent }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      return .refused(path: path, reason: "it is no regular file")
    }
    if status.st_uid != geteuid() { return .refused(path: path, reason: "it belongs to another user") }
    if status.st_mode & 0o022 != 0 { return .refused(path: path, reason: "others can write it") }
    guard let content = readAll(descriptor) else { return .refused(path: path, reason: "it cannot be read") }
    return .content(content, path: path)
  }

  private static func directory(_ variable: String, otherwise: String) -> String? {
    if let base = environment(variable), base.hasPrefix("/") { return base + "/ulpsh" }
    guard let home = environment("HOME"), home.hasPrefix("/") else { return nil }
    return home + otherwise + "/ulpsh"
  }

  private static func makeDirectories(_ path: String) {
    var prefix = ""
    for part in path.split(separator: "/") {
      prefix += "/" + part
      mkdir(prefix, 0o700)
    }
  }
}
