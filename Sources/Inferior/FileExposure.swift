import CLinux
import Glibc

/// Who else could change or replace a file, by owner, permission bits and access control list of the file and of every directory
/// and symbolic link on its way (inode(7), symlink(7), acl(5)): anybody but root and our own effective user. One sentence
/// each; empty when nobody can, as far as these tell.
///
/// - Parameter path: as it was named: where a symbolic link stands on the way, who can exchange that chooses the file.
public func fileExposures(_ path: String) -> [String] {
  var way = FileWay()
  way.walk(path)
  return way.exposures
}

/// The way to a file, name by name.
private struct FileWay {
  private(set) var exposures: [String] = []
  private var seen: Set<String> = []
  /// Where the way has come to; empty for the root directory.
  private var place = ""
  private var links = 0

  mutating func walk(_ path: String) {
    if !path.hasPrefix("/") {
      guard let here = getcwd(nil, 0) else { return }
      defer { free(here) }
      follow(String(cString: here))
    }
    follow(path)
  }

  private mutating func follow(_ path: String) {
    if path.hasPrefix("/") {
      place = ""
      judge("/", isLink: false)
    }
    for part in path.split(separator: "/", omittingEmptySubsequences: true) where part != "." {
      if part == ".." {
        place = String(place[..<(place.lastIndex(of: "/") ?? place.startIndex)])
        continue
      }
      let next = place + "/" + part
      // The links of proc(5) lead where no name does, and nobody can exchange them.
      guard let target = linkTarget(next), ul_is_proc(place.isEmpty ? "/" : place) == 0 else {
        place = next
        judge(next, isLink: false)
        continue
      }
      judge(next, isLink: true)
      links += 1
      guard links <= 40 else { return }  // as the kernel does: ELOOP
      follow(target)
    }
  }

  private mutating func judge(_ place: String, isLink: Bool) {
    guard seen.insert(place).inserted else { return }
    var facts = stat()
    guard (isLink ? lstat(place, &facts) : stat(place, &facts)) == 0 else { return }
    if facts.st_uid != 0 && facts.st_uid != geteuid() { exposures.append("\(place) belongs to user \(facts.st_uid)") }
    // A link has no permissions of its own; who can write its directory can exchange it.
    if isLink { return }
    // In a sticky directory only the owner of a file can rename or remove it.
    if facts.st_mode & S_IFMT == S_IFDIR && facts.st_mode & S_ISVTX != 0 { return }
    if facts.st_mode & S_IWOTH != 0 {
      exposures.append("everybody can write \(place)")
    } else if facts.st_mode & S_IWGRP != 0 {
      judgeGroup(place, facts.st_gid)
    }
  }

  /// With an access control list the group's bits are its mask: the most that anybody gets whom it names.
  private mutating func judgeGroup(_ place: String, _ group: gid_t) {
    guard let list = AccessList(place) else {
      if group != 0 { exposures.append("group \(group) can write \(place)") }
      return
    }
    for entry in list.writers {
      switch entry {
      case .user(let user) where user != 0 && user != geteuid(): exposures.append("user \(user) can write \(place)")
      case .group(let other) where (other ?? group) != 0: exposures.append("group \(other ?? group) can write \(place)")
      default: break
      }
    }
  }
}

/// Who may write by an access control list, as the kernel keeps it in `system.posix_acl_access`: a version, and for each entry
/// a tag, permissions and an ID, little-endian (<linux/posix_acl_xattr.h>).
private struct AccessList {
  enum Writer {
    case user(uid_t)
    /// Nil: the file's own.
    case group(gid_t?)
  }

  private(set) var writers: [Writer] = []

  /// Nil for a file without one.
  init?(_ path: String) {
    var bytes = [UInt8](repeating: 0, count: 8192)
    let size = getxattr(path, "system.posix_acl_access", &bytes, bytes.count)
    guard size >= 4, number(bytes, 0, 4) == 2 else { return nil }  // POSIX_ACL_XATTR_VERSION
    var found: [(tag: UInt32, writer: Writer)] = []
    var mask: UInt32 = 7
    for offset in stride(from: 4, to: size - 7, by: 8) {
      let (tag, permissions, id) = (number(bytes, offset, 2), number(bytes, offset + 2, 2), number(bytes, offset + 4, 4))
      switch tag {
      case 0x02 where permissions & 2 != 0: found.append((tag, .user(id)))  // ACL_USER
      case 0x04 where permissions & 2 != 0: found.append((tag, .group(nil)))  // ACL_GROUP_OBJ
      case 0x08 where permissions & 2 != 0: found.append((tag, .group(id)))  // ACL_GROUP
      case 0x10: mask = permissions  // ACL_MASK
      default: break
      }
    }
    if mask & 2 != 0 { writers = found.map(\.writer) }
  }
}

private func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt32 {
  bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt32($1) }
}
