import Glibc

/// Where this ulpsh keeps its parts: next to the executable in a build tree, else under its prefix.
public struct Installation: Sendable {
  /// The executable's real path.
  public let executable: String
  /// The directory that holds `ulp.lua`; nil if none was found.
  public let stdlib: String?
  /// The runtime to be preloaded; nil if none was found.
  public let runtime: String?
  /// Lua modules that were compiled when the program was built or installed; nil if there are none.
  public let compiled: String?

  /// Looks for the parts of the running program.
  ///
  /// In order: `ULPSH_STDLIB` and `ULPSH_RUNTIME` (not when running with more rights than the caller has), a parent of the
  /// executable's directory with `stdlib/ulp.lua` (a build tree), `<prefix>/share/ulpsh/stdlib`.
  public static func locate() -> Installation {
    let executable = realPath("/proc/self/exe") ?? "/usr/bin/ulpsh"
    let directory = parent(executable)
    let trusted = geteuid() == getuid() && getegid() == getgid()
    let chosen = trusted ? environment("ULPSH_STDLIB") : nil
    return Installation(
      executable: executable,
      stdlib: chosen ?? findStdlib(from: directory),
      runtime: (trusted ? environment("ULPSH_RUNTIME") : nil) ?? findRuntime(from: directory),
      compiled: chosen == nil ? findCompiled(from: directory) : nil)
  }

  /// package.path: what is compiled, the stdlib, then the distribution's Lua modules. Never the current directory.
  public var searchPath: String {
    let directories = [compiled, stdlib, "/usr/share/lua/5.4", "/usr/local/share/lua/5.4"].compactMap(\.self)
    return directories.map { "\($0)/?.lua;\($0)/?/init.lua" }.joined(separator: ";")
  }

  private static func findStdlib(from directory: String) -> String? {
    var candidate = directory
    for _ in 0..<5 where candidate != "/" {
      if isReadable(candidate + "/stdlib/ulp.lua") { return candidate + "/stdlib" }
      candidate = parent(candidate)
    }
    let installed = parent(directory) + "/share/ulpsh/stdlib"
    return isReadable(installed + "/ulp.lua") ? installed : nil
  }

  private static func findRuntime(from directory: String) -> String? {
    [directory + "/libpulp.so", parent(directory) + "/lib/ulpsh/libpulp.so.0"].first(where: isReadable)
  }

  private static func findCompiled(from directory: String) -> String? {
    [directory + "/compiled", parent(directory) + "/lib/ulpsh/compiled"].first(where: isReadable)
  }

  private static func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
  }

  private static func isReadable(_ path: String) -> Bool { access(path, R_OK) == 0 }

  private static func realPath(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func parent(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }
}
