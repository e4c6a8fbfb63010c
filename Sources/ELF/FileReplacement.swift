import CLinux
import Diagnostics
import Glibc

extension FileBytes {
  /// The whole file. Bounded, because callers hold it in memory.
  public func readAll(limit: Int = 1 << 30) throws(CodedError) -> [UInt8] {
    guard size <= limit else { throw FileBytes.failure(path, "it is larger than \(limit >> 20) MB") }
    return try read(0, count: size)
  }

  /// Whether the file is as it was when it was opened: nobody wrote to it, as far as its times tell.
  public var isUnchanged: Bool {
    var facts = stat()
    return fstat(descriptor, &facts) == 0 && FileTimes(facts) == times
  }

  /// Throws `file.changed` when somebody wrote to the file since it was opened: what was read may be of two versions.
  public func requireUnchanged() throws(CodedError) {
    guard !isUnchanged else { return }
    var facts = stat()
    if fstat(descriptor, &facts) < 0 { throw FileBytes.failure(path, String(cString: strerror(errno))) }
    throw CodedError(
      .fileChanged, "\(printable(path)) was changed while it was being worked on", data: ["path": .text(path)])
  }

  /// Puts `contents` where this file is, in one step. See `replace(by:)`.
  public func replace(with contents: [UInt8]) throws(CodedError) {
    try replace { descriptor throws(CodedError) in try FileWriting.write(contents, to: descriptor, at: 0, path: path) }
  }

  /// Puts what `fill` writes where this file is, in one step: readers see the old file or the new one, and a failure at
  /// any point (full disk, lost permission, our death) leaves the old one. Mode, owner and extended attributes (SELinux
  /// label, capabilities, access lists) stay. Returns false, and replaces nothing, when the contents are the same.
  ///
  /// A symbolic link is followed, so that the file is replaced and not the link. Other hard links keep the old contents,
  /// see `otherNames`; processes that have the file mapped keep the old one as well. Throws `file.unwritable`, and
  /// `file.changed` when the file is not the one any more that was opened.
  @discardableResult
  public func replace(by fill: (Int32) throws(CodedError) -> Void) throws(CodedError) -> Bool {
    guard let resolved = realpath(path, nil) else { throw FileWriting.failure(path, "cannot resolve its path") }
    defer { free(resolved) }
    return try FileWriting.atomically(at: String(cString: resolved)) { (descriptor) throws(CodedError) -> Bool in
      try fill(descriptor)
      if try hasSameContents(descriptor) { return false }
      try keepFacts(on: descriptor)
      // The change time cannot be set back, so a writer cannot hide.
      var now = stat()
      guard stat(path, &now) == 0, FileTimes(now) == times, FileTimes(now).hasSameChange(as: times) else {
        throw CodedError(
          .fileChanged, "\(printable(path)) is not the file any more that was read", data: ["path": .text(path)])
      }
      return true
    }
  }

  private func hasSameContents(_ other: Int32) throws(CodedError) -> Bool {
    var facts = stat()
    guard fstat(other, &facts) == 0, Int(facts.st_size) == size else { return false }
    let copy = try FileBytes.copy(of: other, path: path)
    let step = 1 << 20
    for offset in stride(from: 0, to: size, by: step) {
      let count = min(step, size - offset)
      if try read(UInt64(offset), count: count) != copy.read(UInt64(offset), count: count) { return false }
    }
    return true
  }

  private func keepFacts(on new: Int32) throws(CodedError) {
    // Owner before mode: chown(2) clears the set-user-ID bit. Both before the attributes: chown clears capabilities too.
    if owner != geteuid() || group != getegid() {
      guard fchown(new, owner, group) == 0 else { throw FileWriting.failure(path, "cannot keep its owner") }
    }
    guard fchmod(new, mode) == 0 else { throw FileWriting.failure(path, "cannot keep its mode") }
    try ExtendedAttributes.copy(from: descriptor, to: new, path: path)
  }
}

/// What tells one state of a file from another: stat(2).
public struct FileTimes: Equatable, Sendable {
  let identity: FileIdentity
  let size: Int
  let modified: timespec
  let changed: timespec

  init(_ facts: stat) {
    identity = FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino))
    size = Int(facts.st_size)
    modified = facts.st_mtim
    changed = facts.st_ctim
  }

  public static func == (left: FileTimes, right: FileTimes) -> Bool {
    // The change time alone also moves when a link is made or the mode is set: that does not make the contents others.
    left.identity == right.identity && left.size == right.size && left.modified.tv_sec == right.modified.tv_sec
      && left.modified.tv_nsec == right.modified.tv_nsec
  }
}

extension FileTimes {
  func hasSameChange(as other: FileTimes) -> Bool {
    changed.tv_sec == other.changed.tv_sec && changed.tv_nsec == other.changed.tv_nsec
  }
}

/// Files that appear under their name when they are complete, or not at all.
public enum FileWriting {
  /// Writes a new file, or replaces one by other contents. Of a replaced file the mode, owner and attributes stay; a new
  /// one gets what the umask leaves of `mode`. Throws `file.unwritable`.
  public static func write(_ contents: [UInt8], path: String, mode: UInt32 = 0o666) throws(CodedError) {
    var facts = stat()
    if stat(path, &facts) == 0 { return try FileBytes(path: path).replace(with: contents) }
    _ = try atomically(at: path) { (descriptor) throws(CodedError) -> Bool in
      try write(contents, to: descriptor, at: 0, path: path)
      let mask = umask(0)
      umask(mask)
      guard fchmod(descriptor, mode & ~mask) == 0 else { throw failure(path, "cannot set its mode") }
      return true
    }
  }

  /// Runs `body` on a new file in the directory of `place`, and gives it that name if `body` says so.
  static func atomically(at place: String, _ body: (Int32) throws(CodedError) -> Bool) throws(CodedError) -> Bool {
    let slash = place.utf8.lastIndex(of: 0x2f)
    let directory = slash.map { $0 == place.startIndex ? "/" : String(place[..<$0]) } ?? "."
    // A name of the longest allowed length must not become too long.
    let name = String(decoding: place.utf8[(slash.map { place.utf8.index(after: $0) } ?? place.startIndex)...].prefix(200), as: UTF8.self)
    let temporary = directory + "/." + name + ".ulpsh-" + String(UInt32.random(in: 0 ... .max), radix: 16)
    let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure(place, "cannot create a file beside it") }
    defer { close(descriptor) }
    let isWanted: Bool
    do throws(CodedError) {
      isWanted = try body(descriptor)
      if isWanted {
        guard fsync(descriptor) == 0 else { throw failure(place, nil) }
        guard rename(temporary, place) == 0 else { throw failure(place, nil) }
      }
    } catch {
      unlink(temporary)
      throw error
    }
    guard isWanted else {
      unlink(temporary)
      return false
    }
    // The rename itself is durable once the directory is. That it might not be after a power failure is no error.
    let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if parent >= 0 {
      fsync(parent)
      close(parent)
    }
    return true
  }

  /// All bytes, at an offset.
  static func write(_ contents: some Collection<UInt8>, to descriptor: Int32, at offset: Int, path: String) throws(CodedError) {
    let contents = Array(contents)
    var written = 0
    while written < contents.count {
      let count = contents[written...].withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset + written)) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw failure(path, nil) }
      written += count
    }
  }

  /// The reason is what errno says, behind `what` if that is given.
  static func failure(_ path: String, _ what: String?) -> CodedError {
    let reason = String(cString: strerror(errno))
    return CodedError(
      .fileUnwritable, "cannot write \(printable(path)): \(what.map { "\($0): \(reason)" } ?? reason)",
      data: ["path": .text(path)])
  }
}

/// Extended attributes (xattr(7)).
enum ExtendedAttributes {
  /// Signatures and hashes of the old contents, which the kernel makes anew where it is set up to (ima, evm).
  private static let ofContents = ["security.ima", "security.evm"]
  private static let limit = 1 << 16

  /// Gives one file the attributes of another. Throws `file.unwritable` when one cannot be kept.
  static func copy(from old: Int32, to new: Int32, path: String) throws(CodedError) {
    let size = flistxattr(old, nil, 0)
    guard size > 0, size <= limit else { return }
    var list = [CChar](repeating: 0, count: size)
    let length = flistxattr(old, &list, size)
    guard length > 0 else { return }
    for name in list[..<length].split(separator: 0) {
      let name = String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard !ofContents.contains(name), let wanted = value(of: name, old), value(of: name, new) != wanted else { continue }
      guard fsetxattr(new, name, wanted, wanted.count, 0) == 0 else {
        throw FileWriting.failure(path, "cannot keep its attribute \(printable(name))")
      }
    }
  }

  private static func value(of name: String, _ file: Int32) -> [UInt8]? {
    let size = fgetxattr(file, name, nil, 0)
    guard size >= 0, size <= limit else { return nil }
    var bytes = [UInt8](repeating: 0, count: size)
    let length = fgetxattr(file, name, &bytes, size)
    return length >= 0 ? Array(bytes.prefix(length)) : nil
  }
}
