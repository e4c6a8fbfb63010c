import Diagnostics
import ELF
import Inferior

/// Where a process finds a container's file: its root directory and its mounts may be others than ours.
struct ContainerPlace {
  /// The path that the process is asked to open.
  let path: String
  /// What that path led to when it was checked; nil when it led nowhere.
  let file: FileStamp?
}

extension PatchPlanner {
  /// The path by which the process reaches the very file that was opened and checked. Fails with `container.invisible`.
  ///
  /// With a prefix there is only that path, and it is taken at its word when nothing is there: then the process's own loader
  /// says so. Without one the paths are tried by which a process with another root directory may see what we see.
  func place(of container: Container) throws(CodedError) -> ContainerPlace {
    if options.delivery == .memory { return try memoryPlace(container) }
    if let root = options.root { return try prefixedPlace(root + container.path, container) }
    let paths = process.pathsBelowRoot(of: container.path)
    var found: String?
    for path in paths where found == nil {
      if try FileStamp.current(process.visiblePath(path))?.identity == container.identity { found = path }
    }
    guard let path = found else {
      let isThere = fileIdentity(process.visiblePath(container.path)) != nil
      throw invisible(container, container.path, isThere ? "that path is another file there" : "it does not exist in the process's root directory")
    }
    if let reason = process.reasonUnopenable(path) { throw invisible(container, path, reason) }
    return ContainerPlace(path: path, file: try FileStamp.current(process.visiblePath(path)))
  }

  private func prefixedPlace(_ path: String, _ container: Container) throws(CodedError) -> ContainerPlace {
    let file = try FileStamp.current(process.visiblePath(path))
    guard file == nil || file?.identity == container.identity else { throw invisible(container, path, "that path is another file there") }
    if file != nil, let reason = process.reasonUnopenable(path) { throw invisible(container, path, reason) }
    return ContainerPlace(path: path, file: file)
  }

  /// In a memory file the path is only for people, and where the file itself is now is our affair alone. The loader of the
  /// process opens it below /proc/self/fd.
  private func memoryPlace(_ container: Container) throws(CodedError) -> ContainerPlace {
    guard let runtime = runtime as? PulpRuntime else {
      throw CodedError(
        .containerUndeliverable, "process \(process.pid) has SUSE's runtime, which loads by path alone",
        hint: "leave out `deliver = \"memfd\"`", data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path)])
    }
    try runtime.requireMemoryFiles()
    guard process.seesProc else {
      throw CodedError(
        .containerUndeliverable, "process \(process.pid) has no /proc in its root directory, by which its loader could open a memory file",
        data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path)])
    }
    return ContainerPlace(path: container.path, file: try FileStamp.current(container.path))
  }

  private func invisible(_ container: Container, _ path: String, _ reason: String) -> CodedError {
    CodedError(
      .containerInvisible, "process \(process.pid) cannot open \(printable(path)): \(reason)",
      data: ["pid": .integer(Int64(process.pid)), "path": .text(container.path), "target_path": .text(path)])
  }
}
