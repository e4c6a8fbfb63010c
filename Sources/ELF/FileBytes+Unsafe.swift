import Diagnostics
import Glibc

/// Device and inode: which file this is, whatever it is called.
public struct FileIdentity: Hashable, Sendable {
  public let device: UInt64
  public let inode: UInt64
  public init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }
}

/// A regular file that was opened once. What is checked through it is what is used: the path is never opened again.
///
/// Read with pread(2), not mapped: a mapped file that somebody truncates meanwhile would raise SIGBUS in us.
public final class FileBytes {
  public let path: String
  public let descriptor: Int32
  public let identity: FileIdentity
  /// Size in bytes when the file was opened.
  public let size: Int
  /// Permission bits, as chmod(2) takes them.
  public let mode: UInt32
  public let owner: UInt32
  public let group: UInt32
  /// Modification time in nanoseconds since 1970.
  public let modified: Int64
  /// Names of the file besides the one it was opened by (hard links).
  public let otherNames: Int
  let times: FileTimes

  /// Throws `file.unreadable` for anything but a readable regular file. Nothing else is even opened: paths come from processes
  /// as well, and opening a device can be a command to it.
  public convenience init(path: String) throws(CodedError) {
    let name = open(path, FileBytes.nameOnly | O_CLOEXEC)
    guard name >= 0 else { throw FileBytes.failure(path, String(cString: strerror(errno))) }
    defer { close(name) }
    var facts = stat()
    guard fstat(name, &facts) == 0 else { throw FileBytes.failure(path, String(cString: strerror(errno))) }
    try FileBytes.requireRegular(facts, path)
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK
    var descriptor = open("/proc/self/fd/\(name)", flags)
    if descriptor < 0 && errno == ENOENT { descriptor = open(path, flags) }  // no /proc
    guard descriptor >= 0 else { throw FileBytes.failure(path, String(cString: strerror(errno))) }
    try self.init(adopting: descriptor, path: path)
  }

  /// O_PATH.
  private static let nameOnly: Int32 = 0o10000000

  private static func requireRegular(_ facts: stat, _ path: String) throws(CodedError) {
    if facts.st_mode & S_IFMT == S_IFREG { return }
    throw failure(path, facts.st_mode & S_IFMT == S_IFDIR ? "it is a directory" : "it is not a regular file")
  }

  /// Takes over `descriptor` (closed with this object, and when this throws). `path` is only for messages.
  public init(adopting descriptor: Int32, path: String) throws(CodedError) {
    var facts = stat()
    guard fstat(descriptor, &facts) == 0 else {
      let reason = String(cString: strerror(errno))
      close(descriptor)
      throw FileBytes.failure(path, reason)
    }
    do throws(CodedError) { try FileBytes.requireRegular(facts, path) } catch {
      close(descriptor)
      throw error
    }
    self.path = path
    self.descriptor = descriptor
    identity = FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino))
    size = Int(facts.st_size)
    mode = facts.st_mode & 0o7777
    owner = facts.st_uid
    group = facts.st_gid
    otherNames = max(0, Int(facts.st_nlink) - 1)
    times = FileTimes(facts)
    modified = Int64(facts.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(facts.st_mtim.tv_nsec)
  }

  deinit { close(descriptor) }

  /// Another view of an open file.
  static func copy(of descriptor: Int32, path: String) throws(CodedError) -> FileBytes {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw failure(path, String(cString: strerror(errno))) }
    return try FileBytes(adopting: copy, path: path)
  }

  /// Exactly `count` bytes from `offset` on. Throws `elf.malformed` when they are not all inside the file, which includes
  /// a file that became shorter since it was opened.
  public func read(_ offset: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    guard count > 0 else { return [] }
    guard offset <= UInt64(size), UInt64(count) <= UInt64(size) - offset else {
      throw malformed("\(count) bytes at \(hexadecimal(offset)) lie outside the file")
    }
    var failed: Int32 = 0
    // The only unsafe step: pread fills storage that was allocated for exactly `count` bytes, and the loop never asks for
    // more than is left.
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let got = pread(descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset) + off_t(filled))
        if got < 0 && errno == EINTR { continue }
        if got <= 0 {
          failed = got < 0 ? errno : -1
          return
        }
        filled += got
      }
    }
    if failed > 0 { throw FileBytes.failure(path, String(cString: strerror(failed))) }
    if failed < 0 { throw malformed("the file became shorter while it was read") }
    return bytes
  }

  func malformed(_ reason: String) -> CodedError {
    CodedError(.elfMalformed, "\(printable(path)): \(reason)", data: ["path": .text(path)])
  }

  static func failure(_ path: String, _ reason: String) -> CodedError {
    CodedError(.fileUnreadable, "cannot read \(printable(path)): \(reason)", data: ["path": .text(path)])
  }
}
