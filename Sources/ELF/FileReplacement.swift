import Diagnostics
import Glibc

extension FileBytes {
  /// The whole file. Bounded, because callers hold it in memory.
  public func readAll(limit: Int = 1 << 30) throws(CodedError) -> [UInt8] {
    guard size <= limit else { throw FileBytes.failure(path, "it is larger than \(limit >> 20) MB") }
    return try read(0, count: size)
  }

  /// Puts `contents` where this file is, in one step: readers see the old file or the new one, and a failure at any point
  /// (full disk, lost permission, our death) leaves the old one. Mode and owner stay. Throws `file.unwritable`.
  ///
  /// A symbolic link is followed, so that the file is replaced and not the link. Other hard links keep the old contents.
  public func replace(with contents: [UInt8]) throws(CodedError) {
    guard let resolved = realpath(path, nil) else { throw unwritable("cannot resolve its path") }
    defer { free(resolved) }
    let place = String(cString: resolved)
    let slash = place.lastIndex(of: "/") ?? place.startIndex
    let directory = slash == place.startIndex ? "/" : String(place[..<slash])
    let temporary =
      directory + "/." + place[place.index(after: slash)...] + ".ulpsh-" + String(UInt32.random(in: 0 ... .max), radix: 16)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw unwritable("cannot create a file beside it: \(reason())") }
    do throws(CodedError) {
      try fill(descriptor, with: contents)
      guard rename(temporary, place) == 0 else { throw unwritable(reason()) }
    } catch {
      unlink(temporary)
      close(descriptor)
      throw error
    }
    close(descriptor)
    // The rename itself is durable once the directory is. That it might not be after a power failure is no error.
    let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if parent >= 0 {
      fsync(parent)
      close(parent)
    }
  }

  private func fill(_ descriptor: Int32, with contents: [UInt8]) throws(CodedError) {
    var written = 0
    while written < contents.count {
      let count = contents[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw unwritable(reason()) }
      written += count
    }
    // Owner before mode: chown(2) clears the set-user-ID bit.
    if owner != geteuid() || group != getegid() {
      guard fchown(descriptor, owner, group) == 0 else { throw unwritable("cannot keep its owner: \(reason())") }
    }
    guard fchmod(descriptor, mode) == 0, fsync(descriptor) == 0 else { throw unwritable(reason()) }
  }

  private func reason() -> String { String(cString: strerror(errno)) }

  private func unwritable(_ reason: String) -> CodedError {
    CodedError(.fileUnwritable, "cannot replace \(printable(path)): \(reason)", data: ["path": .text(path)])
  }
}
