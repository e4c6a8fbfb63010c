import CLinux
import Diagnostics
import ELF
import Glibc
import Tracing

/// Device and inode of what a path leads to; nil when it leads nowhere.
public func fileIdentity(_ path: String) -> FileIdentity? {
  var facts = stat()
  guard stat(path, &facts) == 0 else { return nil }
  return FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino))
}

/// What a symbolic link says; nil, with errno set, when it cannot be read.
func linkTarget(_ path: String) -> String? {
  var length = 0
  let bytes = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
    buffer.withMemoryRebound(to: CChar.self) { length = readlink(path, $0.baseAddress!, $0.count) }
    count = max(length, 0)
  }
  return length >= 0 ? String(decoding: bytes, as: UTF8.self) : nil
}

/// What tells a file from every other, and from itself before it was written to (inode(7)). Nobody can set the last one.
public struct FileStamp: Hashable, Sendable {
  public let identity: FileIdentity
  let size: Int64
  let modified: Int64
  let changed: Int64

  public init(identity: FileIdentity, size: Int64, modified: Int64, changed: Int64) {
    self.identity = identity
    self.size = size
    self.modified = modified
    self.changed = changed
  }

  /// Of what a path leads to; nil when it leads nowhere.
  public init?(_ path: String) {
    var facts = stat()
    guard stat(path, &facts) == 0 else { return nil }
    self.init(facts)
  }

  /// The same for those who take "nowhere" for an answer about the file. Fails with `file.unreadable` when it is none.
  public static func current(_ path: String) throws(CodedError) -> FileStamp? {
    if let stamp = FileStamp(path) { return stamp }
    let number = errno
    if number == ENOENT || number == ENOTDIR { return nil }
    throw CodedError(.fileUnreadable, "cannot look at \(printable(path)): \(errnoText(number))", data: ["path": .text(path)])
  }

  /// Of an open file.
  init?(_ descriptor: Int32) {
    var facts = stat()
    guard fstat(descriptor, &facts) == 0 else { return nil }
    self.init(facts)
  }

  private init(_ facts: stat) {
    func nanoseconds(_ time: timespec) -> Int64 { Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec) }
    self.init(
      identity: FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino)), size: Int64(facts.st_size),
      modified: nanoseconds(facts.st_mtim), changed: nanoseconds(facts.st_ctim))
  }
}

extension TargetProcess {
  /// Paths by which the process may see a file that we see at `path`, the likeliest first:
  ///
  /// - without `/proc/PID/root`, by which we look into another mount namespace;
  /// - the same, as long as root directory and mounts are shared where it matters;
  /// - without the process's root directory, if that is a directory of ours (chroot(2));
  /// - through the root directory of process 1, if the process sees proc(5) itself as its root.
  public func pathsBelowRoot(of path: String) -> [String] {
    var paths = [path]
    if path.hasPrefix("/proc/"), let rest = path.dropFirst(6).firstIndex(of: "/"), path[rest...].hasPrefix("/root/") {
      paths.insert(String(path[rest...].dropFirst("/root".utf8.count)), at: 0)
    }
    if let root = linkTarget("/proc/\(memory.thread)/root"), root != "/", path.hasPrefix(root + "/") {
      paths.append(String(path.dropFirst(root.utf8.count)))
    }
    if isBelowProc { paths.append("/1/root" + path) }
    return paths
  }

  /// Whether the process's root directory is that of proc(5).
  private var isBelowProc: Bool {
    guard let root = fileIdentity(visiblePath("/")) else { return false }
    return root == fileIdentity("/proc")
  }

  /// Whether proc(5) is mounted where a loader looks for it. Which processes it shows is not seen from outside.
  public var seesProc: Bool { ul_is_proc(visiblePath("/proc")) != 0 }

  /// Why the process's loader could not open a file or map its code; nil when it can, as far as can be told. Nothing is
  /// mapped executable from a file system that is mounted so (mmap(2), EPERM).
  public func reasonUnopenable(_ path: String) -> String? {
    if let reason = reasonUnreadable(path) { return reason }
    var facts = statvfs()
    guard statvfs(visiblePath(path), &facts) == 0, facts.f_flag & 8 != 0 else { return nil }  // ST_NOEXEC
    return "its file system is mounted noexec there"
  }

  /// Why the process's user could not read a file, by the permission bits along its path; nil when it can, as far as
  /// these tell (inode(7)). Asked before the process tries, because the loader's message comes late.
  public func reasonUnreadable(_ path: String) -> String? {
    guard let status = ProcFile.read("/proc/\(memory.thread)/status", limit: 16384) else { return nil }
    func numbers(_ name: StaticString) -> [UInt32] {
      guard let field = ProcFile.field(name, of: status) else { return [] }
      return field.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).compactMap { ProcFile.decimal($0).map { UInt32(truncatingIfNeeded: $0) } }
    }
    let uids = numbers("Uid")
    let gids = numbers("Gid")
    guard uids.count >= 4, gids.count >= 4 else { return nil }
    let user = uids[3]  // file system UID
    if user == 0 { return nil }
    // Following a link of proc(5) takes the right to trace the process it belongs to.
    if path.hasPrefix("/1/root/") && isBelowProc { return "user \(user) may not follow /1/root" }
    let groups = Set(numbers("Groups") + [gids[3]])
    var prefix = ""
    let parts = path.split(separator: "/")
    for (index, part) in parts.enumerated() {
      prefix += "/" + part
      var facts = stat()
      guard stat(visiblePath(prefix), &facts) == 0 else { return nil }
      let isLast = index == parts.count - 1
      let wanted: UInt32 = isLast ? 4 : 1
      let shift: UInt32 = facts.st_uid == user ? 6 : groups.contains(facts.st_gid) ? 3 : 0
      if (facts.st_mode >> shift) & wanted == 0 {
        return "user \(user) may not \(isLast ? "read" : "search") \(prefix)"
      }
    }
    return nil
  }
}

/// Device and inode by which mappings show an open file; nil when it cannot be mapped.
private func mappedIdentity(_ descriptor: Int32) -> FileIdentity? {
  // Nothing is read through it: a file that somebody truncates meanwhile is no harm.
  guard let place = mmap(nil, 1, PROT_READ, MAP_PRIVATE, descriptor, 0), place != MAP_FAILED else { return nil }
  defer { munmap(place, 1) }
  let mapping = MemoryMap(of: getpid()).mapping(containing: UInt64(UInt(bitPattern: place)))
  return mapping.map { FileIdentity(device: $0.device, inode: $0.inode) }
}

extension Mapping {
  /// Whether this is a mapping of an open file that stat(2) calls `file`. On btrfs, and on overlays of earlier kernels,
  /// mappings show another device than stat(2) does: then a mapping of our own is asked.
  public func shows(_ file: FileIdentity, _ descriptor: Int32) -> Bool {
    guard isFile, inode == file.inode else { return false }
    return device == file.device || mappedIdentity(descriptor) == FileIdentity(device: device, inode: inode)
  }

  /// The same of the file that a path leads to.
  public func shows(_ file: FileIdentity, at path: String) -> Bool {
    guard isFile, inode == file.inode else { return false }
    if device == file.device { return true }
    guard let opened = try? FileBytes(path: path), opened.identity == file else { return false }
    return shows(file, opened.descriptor)
  }

  /// The file as mapped: by its name below the process's root when that is still the same file, else through map_files
  /// (proc(5)).
  func openablePath(through thread: pid_t) -> String {
    if !isDeleted {
      let path = "/proc/\(thread)/root" + self.path
      if let file = fileIdentity(path), shows(file, at: path) { return path }
    }
    let first = String(range.lowerBound, radix: 16)
    return "/proc/\(thread)/map_files/\(first)-" + String(range.upperBound, radix: 16)
  }
}
